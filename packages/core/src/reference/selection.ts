import { type DType, isFloat } from '../contract/dtype.js';
import { numberToHalf } from './float16.js';
import { numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** The k-th largest of the entries above -inf, or -inf when there are at most k of them. */
function kthLargest(row: Float64Array, k: number): number {
  const ascending = row.filter((value) => value > Number.NEGATIVE_INFINITY).sort();
  return ascending.length <= k ? Number.NEGATIVE_INFINITY : (ascending[ascending.length - k] as number);
}

/**
 * By threshold: with t the k-th largest value, keeps everything above t, and the first entries equal to t until k are
 * kept. (The attention oracle sorts instead, so that the two check each other.)
 */
export function topK(
  memory: ReferenceMemory,
  x: ReferenceTensor,
  k: number,
): { values: ReferenceTensor; indices: ReferenceTensor } {
  const width = x.shape[x.shape.length - 1] as number;
  const shape = [...x.shape.slice(0, -1), k];
  const numbers = numbersOf(x);
  const rows = width === 0 ? 0 : numbers.length / width;
  const kept = new Int32Array(rows * k).fill(-1);
  const row = new Float64Array(width);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < width; j++) row[j] = numbers[r * width + j] as number;
    const threshold = kthLargest(row, k);
    let above = 0;
    for (let j = 0; j < width; j++) if ((row[j] as number) > threshold) above++;
    let ties = threshold === Number.NEGATIVE_INFINITY ? 0 : k - above;
    let slot = r * k;
    for (let j = 0; j < width; j++) {
      const value = row[j] as number;
      if (value > threshold) kept[slot++] = j;
      else if (value === threshold && ties-- > 0) kept[slot++] = j;
    }
  }
  const values = memory.make(shape, x.dtype, (out) => {
    for (let i = 0; i < out.length; i++) {
      const j = kept[i] as number;
      out[i] = j < 0 ? Number.NEGATIVE_INFINITY : (numbers[Math.floor(i / k) * width + j] as number);
    }
  });
  const indices = memory.makeRaw(shape, 'i32', (out) => out.set(kept));
  return { values, indices };
}

/** The stored value for an index outside the table: NaN (f16: its bits), or 0 for types without NaN. */
function storedNaN(dtype: DType): number {
  if (dtype === 'f16') return numberToHalf(Number.NaN);
  return isFloat(dtype) ? Number.NaN : 0;
}

export function takeAlong(
  memory: ReferenceMemory,
  x: ReferenceTensor,
  indices: ReferenceTensor,
): ReferenceTensor {
  const width = x.shape[x.shape.length - 1] as number;
  const count = indices.shape[indices.shape.length - 1] as number;
  const outside = storedNaN(x.dtype);
  return memory.makeRaw(indices.shape, x.dtype, (out) => {
    for (let i = 0; i < out.length; i++) {
      const j = indices.block.data[i] as number;
      if (j >= 0 && j < width) out[i] = x.block.data[Math.floor(i / count) * width + j] as number;
      else if (j !== -1) out[i] = outside;
    }
  });
}

export function putAlong(
  memory: ReferenceMemory,
  indices: ReferenceTensor,
  values: ReferenceTensor,
  n: number,
): ReferenceTensor {
  const count = indices.shape[indices.shape.length - 1] as number;
  const shape = [...indices.shape.slice(0, -1), n];
  return memory.makeRaw(shape, values.dtype, (out) => {
    const from = values.block.data;
    for (let i = 0; i < from.length; i++) {
      const j = indices.block.data[i] as number;
      if (j >= 0 && j < n) out[Math.floor(i / count) * n + j] = from[i] as number;
    }
  });
}

export function gatherRows(
  memory: ReferenceMemory,
  x: ReferenceTensor,
  indices: ReferenceTensor,
): ReferenceTensor {
  const [, rows, width] = x.shape as readonly [number, number, number];
  const [batch, count] = indices.shape as readonly [number, number];
  const outside = storedNaN(x.dtype);
  return memory.makeRaw([batch, count, width], x.dtype, (out) => {
    for (let i = 0; i < batch * count; i++) {
      const row = indices.block.data[i] as number;
      if (row === -1) continue;
      const isInside = row >= 0 && row < rows;
      const start = (Math.floor(i / count) * rows + row) * width;
      for (let d = 0; d < width; d++)
        out[i * width + d] = !isInside ? outside : (x.block.data[start + d] as number);
    }
  });
}

/** Updates are added in ascending order of their position, in f64, and rounded once. */
export function scatterAddRows(
  memory: ReferenceMemory,
  n: number,
  indices: ReferenceTensor,
  updates: ReferenceTensor,
): ReferenceTensor {
  const [batch, count, width] = updates.shape as readonly [number, number, number];
  const numbers = numbersOf(updates);
  return memory.make([batch, n, width], updates.dtype, (out) => {
    const sums = new Float64Array(out.length);
    for (let i = 0; i < batch * count; i++) {
      const row = indices.block.data[i] as number;
      if (row < 0 || row >= n) continue;
      const start = (Math.floor(i / count) * n + row) * width;
      for (let d = 0; d < width; d++) {
        sums[start + d] = (sums[start + d] as number) + (numbers[i * width + d] as number);
      }
    }
    for (let i = 0; i < out.length; i++) out[i] = sums[i] as number;
  });
}
