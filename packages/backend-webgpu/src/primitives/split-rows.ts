import { type Shape, sizeOf, TopKError } from '@topk-attention/core';
import { ALIGNMENT } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';

/** The last axis as width, all others as rows. */
export function rowsOf(shape: Shape): { readonly rows: number; readonly width: number } {
  return { rows: sizeOf(shape.slice(0, -1)), width: shape.at(-1) as number };
}

/** Bytes of data that a binding holds, wherever they begin. */
export function largestBytes(stream: Stream): number {
  return stream.device.limits.maxStorageBufferBindingSize - ALIGNMENT;
}

/** A run of rows that one launch takes. */
export interface RowRange {
  readonly first: number;
  readonly count: number;
}

/**
 * Cuts `rows` rows into runs whose bindings stay under the device's limit, given the largest number of bytes that a row
 * takes in any of them.
 *
 * @param together every run but the last has a multiple of this number of rows. Default 2, so that no two launches write one
 * word of f16; 1 where rows fill whole words.
 */
export function splitRows(
  stream: Stream,
  what: string,
  rows: number,
  bytesPerRow: number,
  together: 1 | 2 = 2,
): RowRange[] {
  const fitting = Math.floor(largestBytes(stream) / Math.max(1, bytesPerRow));
  if (fitting >= rows) return rows === 0 ? [] : [{ first: 0, count: rows }];
  const step = fitting - (fitting % together);
  if (step === 0) throw doesNotFit(stream, what, Math.min(rows, together) * bytesPerRow);
  return Array.from({ length: Math.ceil(rows / step) }, (_, index) => ({
    first: index * step,
    count: Math.min(step, rows - index * step),
  }));
}

export function doesNotFit(stream: Stream, what: string, bytes: number): TopKError {
  return new TopKError('DOES_NOT_FIT', `webgpu: ${what} needs a larger binding than the device allows`, {
    expected: `at most ${largestBytes(stream)} bytes`,
    got: `${bytes} bytes`,
    fix: 'Split the tensor, or use a device with a larger maxStorageBufferBindingSize',
  });
}
