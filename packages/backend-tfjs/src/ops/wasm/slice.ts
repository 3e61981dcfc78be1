import type { Tf, TfTensor } from '../../tf.js';

/** From this many elements on, a copy of the whole costs more than a few operations. */
const SMALL = 2 ** 16;
/** Most pieces that a slice is assembled from. */
const MOST_PIECES = 4096;

/** Cuts x into `count` equal pieces, in row order, and takes those listed: [pieces, elements of a piece]. */
export function takePieces(tf: Tf, x: TfTensor, count: number, pieces: readonly number[]): TfTensor {
  const at = tf.tensor2d(Int32Array.from(pieces), [pieces.length, 1], 'int32');
  return tf.gatherND(tf.reshape(x, [count, x.size / count]), at);
}

/**
 * A part of x, read as `shape`, none of whose axes could join the one before it. The wasm engine's tf.slice first
 * copies all of x out of its memory; this copies only the part. Undefined where that saves little.
 */
export function sliceByPieces(
  tf: Tf,
  x: TfTensor,
  shape: readonly number[],
  starts: readonly number[],
  sizes: readonly number[],
): TfTensor | undefined {
  const wanted = sizes.reduce((product, size) => product * size, 1);
  if (x.size < SMALL || 2 * wanted > x.size) return undefined;
  const last = shape.length - 1;
  const [extent = 1, start = 0, size = 1] = [shape[last], starts[last], sizes[last]];
  const unit = greatestDivisor(greatestDivisor(extent, size), start);
  if (wanted / unit > MOST_PIECES) return undefined;
  // Numbers of rows of the last axis, and of pieces within the row.
  const rows = shape.slice(0, last).reduce<readonly number[]>(
    (found, all, axis) => {
      const [from = 0, count = 1] = [starts[axis], sizes[axis]];
      return found.flatMap((row) => Array.from({ length: count }, (_, at) => row * all + from + at));
    },
    [0],
  );
  const pieces = rows.flatMap((row) =>
    Array.from({ length: size / unit }, (_, at) => (row * extent + start) / unit + at),
  );
  return takePieces(tf, x, x.size / unit, pieces);
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
