import { type DType, sizeOf } from '@topk-attention/core';
import { bindingOf, storedBytes } from '../runtime/binding.js';
import { f32Bits } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, writeTo } from '../wgsl/define-kernel.js';
import { forEachElement } from '../wgsl/text.js';
import { halfBits } from './half.js';
import { splitRows } from './split-rows.js';

/** Fills a buffer with one word. */
const kernel = defineKernel({
  key: 'fill',
  uniforms: { count: 'u32', word: 'u32' },
  buffers: { out: writeTo('u32') },
  workgroup: 64,
  source: () => forEachElement('out[params.out_base + at] = params.word;'),
});

/** The stored word of an element, or of a pair of halves. */
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
    kernel.launch(stream, {
      uniforms: { count, word },
      buffers: { out: bindingOf(out.span, first, count) },
      workgroups: { invocations: count },
    });
  }
}
