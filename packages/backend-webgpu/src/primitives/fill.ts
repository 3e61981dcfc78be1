import { type DType, sizeOf } from '@topk-attention/core';
import { f32Bits, gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { halfBits } from './half.js';
import { splitRows, storedBytes, windowOf } from './windows.js';

const INVOCATIONS = 64;

/** Writes one word throughout. */
const kernel: Kernel = {
  key: 'fill',
  buffers: ['write'],
  source: () => `
struct Params { count: u32, base: u32, word: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  if (at < params.count) { out[params.base + at] = params.word; }
}`,
};

/** The word that an element, or a pair of halves, is stored as. */
export function wordOf(value: number, dtype: DType): number {
  switch (dtype) {
    case 'f32':
      return f32Bits(value);
    case 'i32':
      return value >>> 0;
    case 'bool':
      return value === 0 ? 0 : 1;
    case 'f16': {
      const half = halfBits(value);
      return ((half << 16) | half) >>> 0;
    }
    default:
      return dtype satisfies never;
  }
}

export function recordFill(stream: Stream, value: number, out: View): void {
  const size = sizeOf(out.shape);
  if (size === 0) return;
  const word = wordOf(value, out.dtype);
  const perWord = 4 / storedBytes(out.dtype);
  for (const { first, count } of splitRows(stream, 'fill', Math.ceil(size / perWord), 4)) {
    const window = windowOf(out, first * perWord, count * perWord);
    stream.launch({
      kernel,
      buffers: [window.span],
      uniforms: uniformWords([count, window.base / perWord, word]),
      workgroups: gridOf(Math.ceil(count / INVOCATIONS)),
    });
  }
}
