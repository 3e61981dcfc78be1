import { philoxKey, type Shape, sizeOf } from '@topk-attention/core';
import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import { philoxWgsl } from '../runtime/philox-wgsl.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { splitRows, windowOf } from './windows.js';

const INVOCATIONS = 64;

/** One invocation per word: Philox4x32-10, products of 32 bits by halves. Writes memory once, reads none. */
const kernel: Kernel = {
  key: 'random-bits',
  buffers: ['write'],
  source: () => `
struct Params { key: vec2u, first: u32, base: u32, offset: vec4u, shape: vec4u, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

${philoxWgsl}

@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  if (at >= params.count) { return; }
  var rest = params.first + at;
  var place: vec4u;
  place.w = rest % params.shape.w; rest /= params.shape.w;
  place.z = rest % params.shape.z; rest /= params.shape.z;
  place.y = rest % params.shape.y;
  place.x = rest / params.shape.y;
  out[params.base + at] = philox(params.offset + place, params.key);
}`,
};

/** Words of core's `randomBits`: `out` is i32 of rank 4 or less. Trailing axes that `out` lacks count as offset alone. */
export function recordRandomBits(
  stream: Stream,
  seed: number,
  offset: readonly [number, number, number, number],
  out: View,
): void {
  const shape: Shape = [...out.shape, 1, 1, 1, 1].slice(0, 4);
  for (const { first, count } of splitRows(stream, 'randomBits', sizeOf(shape), 4)) {
    const { span, base } = windowOf(out, first, count);
    const [low, high] = philoxKey(seed);
    stream.launch({
      kernel,
      buffers: [span],
      uniforms: uniformWords([low, high, first, base, ...offset, ...shape, count]),
      workgroups: gridOf(Math.ceil(count / INVOCATIONS)),
    });
  }
}
