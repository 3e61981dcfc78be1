import type { Tf, TfTensor } from '../tf.js';

/** From this many bytes on a copy of the whole costs more than a few operations. */
const SMALL = 2 ** 16;
/** Most pieces that a slice is put together from. */
const MOST_PIECES = 4096;

/** Of x cut into `count` equal pieces, in row order, those listed: [pieces, elements of a piece]. */
export function takePieces(tf: Tf, x: TfTensor, count: number, pieces: readonly number[]): TfTensor {
  const at = tf.tensor2d(Int32Array.from(pieces), [pieces.length, 1], 'int32');
  return tf.gatherND(tf.reshape(x, [count, x.size / count]), at);
}

/**
 * Part of x [m, n] or [n]. The wasm engine's own slice first copies the whole of x out of its memory; this copies what is
 * wanted alone, where that is much less. Undefined where it is not.
 */
export function wasmSlice(
  tf: Tf,
  x: TfTensor,
  shape: readonly number[],
  starts: readonly number[],
  sizes: readonly number[],
): TfTensor | undefined {
  const [rows, extent] = shape.length === 1 ? [1, shape[0] as number] : (shape as [number, number]);
  const [firstRow, start] = shape.length === 1 ? [0, starts[0] as number] : (starts as [number, number]);
  const [rowCount, size] = shape.length === 1 ? [1, sizes[0] as number] : (sizes as [number, number]);
  if (shape.length > 2 || x.size < SMALL || 2 * rowCount * size > x.size) return undefined;
  const unit = greatestDivisor(greatestDivisor(extent, size), start);
  const perRow = size / unit;
  if (rowCount * perRow > MOST_PIECES) return undefined;
  const pieces = Array.from({ length: rowCount * perRow }, (_, index) => {
    const row = firstRow + Math.floor(index / perRow);
    return row * (extent / unit) + start / unit + (index % perRow);
  });
  return takePieces(tf, x, (rows * extent) / unit, pieces);
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
