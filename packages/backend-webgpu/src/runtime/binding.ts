import type { DType } from '@topk-attention/core';
import type { Span } from './kernel.js';
import type { View } from './view.js';

/** Bindings begin at multiples of this many bytes. */
export const ALIGNMENT = 256;

/** Part of a buffer as a kernel sees it. A binding begins at a multiple of 256 bytes, so its data may begin later. */
export interface Binding {
  readonly span: Span;
  /** Elements from the start of the binding to the first of the data. */
  readonly base: number;
}

/** Bytes of an element in storage; bool takes a whole word. */
export function storedBytes(dtype: DType): 2 | 4 {
  return dtype === 'f16' ? 2 : 4;
}

/** Elements `first` to `first + count - 1` of a span; an element has 4 bytes unless another size is given. */
export function bindingOf(span: Span, first: number, count: number, bytes: 2 | 4 = 4): Binding {
  const start = Math.floor((first * bytes) / ALIGNMENT) * ALIGNMENT;
  const base = first - start / bytes;
  const size = Math.max(4, Math.ceil(((base + count) * bytes) / 4) * 4);
  return { span: { buffer: span.buffer, offset: span.offset + start, size }, base };
}

/** Elements `first` to `first + count - 1` of a view. */
export function windowOf(view: View, first: number, count: number): Binding {
  return bindingOf(view.span, first, count, storedBytes(view.dtype));
}

/** A whole span. */
export function wholeOf(span: Span): Binding {
  return { span, base: 0 };
}
