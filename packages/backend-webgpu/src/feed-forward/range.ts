import type { Span } from '../runtime/kernel.js';

/** Part of a tensor bound to a kernel: bindings start at multiples of 256 bytes, so the rest of the way is an offset. */
export interface Range {
  readonly span: Span;
  /** Words from the start of the binding to the first element. */
  readonly base: number;
}

/** `words` 32-bit words of a span from its word `first` on. */
export function rangeOf(span: Span, first: number, words: number): Range {
  const start = span.offset + 4 * first;
  const offset = Math.floor(start / 256) * 256;
  return {
    span: { buffer: span.buffer, offset, size: start + 4 * words - offset },
    base: (start - offset) / 4,
  };
}

/** A whole span. */
export function wholeOf(span: Span): Range {
  return { span, base: 0 };
}
