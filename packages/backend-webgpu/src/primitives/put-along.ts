import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { loadBits, storeBits, storedArray } from './wgsl-numbers.js';
import { rowsOf, splitRows, storedBytes, windowOf } from './windows.js';

const INVOCATIONS = 64;

/** One invocation per value, into zeros. Copies bits. */
function kernelOf(half: boolean): Kernel {
  return {
    key: `put-along${half ? ' f16' : ''}`,
    buffers: ['read', 'read', 'write'],
    source: () => `
struct Params { taken: u32, width: u32, count: u32, indices_base: u32, values_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: ${storedArray(half)};
${loadBits('values', half)}
${storeBits('out', half)}

@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  if (at >= params.count) { return; }
  let j = indices[params.indices_base + at];
  if (j < 0 || u32(j) >= params.width) { return; }
  store_out(params.out_base + at / params.taken * params.width + u32(j), load_values(params.values_base + at));
}`,
  };
}

/** Zeros with values[..., j] put at indices[..., j] of the last axis of `out`; an index outside is dropped. */
export function recordPutAlong(stream: Stream, indices: View, values: View, out: View): void {
  const { rows, width: taken } = rowsOf(indices.shape);
  const width = out.shape.at(-1) as number;
  if (rows * width === 0) return;
  const half = out.dtype === 'f16';
  const widest = Math.max(4 * taken, storedBytes(out.dtype) * width);
  stream.clear(windowOf(out, 0, rows * width).span);
  if (taken === 0) return;
  for (const { first, count } of splitRows(stream, 'putAlong', rows, widest)) {
    const at = windowOf(indices, first * taken, count * taken);
    const from = windowOf(values, first * taken, count * taken);
    const to = windowOf(out, first * width, count * width);
    stream.launch({
      kernel: kernelOf(half),
      buffers: [at.span, from.span, to.span],
      uniforms: uniformWords([taken, width, count * taken, at.base, from.base, to.base]),
      workgroups: gridOf(Math.ceil((count * taken) / INVOCATIONS)),
    });
  }
}
