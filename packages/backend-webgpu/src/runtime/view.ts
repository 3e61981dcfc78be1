import type { DType, Shape } from '@topk-attention/core';
import type { Span } from './kernel.js';

/**
 * A row-major tensor in a buffer. Storage: f32 and i32 as they are, bool as u32 of 0 and 1, f16 as bits, two to a u32
 * (the lower half first, the last word padded), so that no device feature is needed to hold it.
 */
export interface View {
  readonly span: Span;
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Bytes that a tensor takes in storage. */
export function storageBytes(shape: Shape, dtype: DType): number {
  const size = shape.reduce((a, b) => a * b, 1);
  return dtype === 'f16' ? 4 * Math.ceil(size / 2) : 4 * size;
}
