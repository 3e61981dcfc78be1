import { slice } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { softmaxRows } from '../ops/softmax.js';
import type { TfTensor } from '../tf.js';
import type { ForwardPass } from './forward-tile.js';
import type { QueryTile } from './tiles.js';

/** Rows [rows, Dv] of exact attention over the values [pairs, Lk, Dv] of some heads, from scores [rows, visible keys]. */
export function exactRows(
  pass: ForwardPass,
  values: TfTensor,
): (scores: TfTensor, tile: QueryTile) => Float32Array {
  const { engine, request } = pass;
  const { tf } = engine;
  const canMask =
    request.causal || request.keyLengths || request.mask !== undefined || request.bias !== undefined;
  const [pairs = 1, length = 1, width = 1] = values.shape;
  const firstKeys = (x: TfTensor, visible: number): TfTensor =>
    visible === length ? x : slice(engine, x, [0, 0, 0], [pairs, visible, x.shape[2] as number]);
  // One for both ways, so that what a query does not see changes no bit of its result. The cpu engine's own makes two
  // more arrays of this size. Rows of all -inf, NaN here, are mended in the product, which is smaller.
  const softmax = (scores: TfTensor): TfTensor =>
    engine.name === 'cpu' ? softmaxRows(engine, scores) : tf.softmax(scores);
  if (pass.isOrdinary) {
    return (scores) => {
      const visible = scores.shape[1] as number;
      const weights = softmax(scores);
      scores.dispose();
      const rows = matmul(
        engine,
        tf.reshape(weights, [pairs, -1, visible]),
        firstKeys(values, visible),
        false,
        false,
      );
      const found = rows.dataSync<'float32'>();
      // All that went in are numbers, so NaN can only mean a softmax over nothing.
      return canMask ? found.map((x) => (Number.isNaN(x) ? 0 : x)) : found;
    };
  }
  // A masked key takes part with weight 0, and 0 * NaN is NaN: such rows are zeroed, and queries that see one are marked.
  const isFinite = tf.less(tf.abs(values), Number.POSITIVE_INFINITY);
  const safe = canMask ? tf.where(isFinite, values, tf.zerosLike(values)) : values;
  const isBad = canMask ? tf.max(tf.cast(tf.logicalNot(isFinite), 'float32'), 2, true) : undefined;
  return (scores) => {
    const visible = scores.shape[1] as number;
    const weights = tf.reshape(softmax(scores), [pairs, -1, visible]);
    const product = matmul(engine, weights, firstKeys(safe, visible), false, false).dataSync<'float32'>();
    const sees =
      isBad && matmul(engine, weights, firstKeys(isBad, visible), false, false).dataSync<'float32'>();
    // Also without a mask: infinite keys can make every score -inf.
    const isEmpty = emptyRows(scores.dataSync<'float32'>(), visible);
    return product.map((x, at) => {
      const row = Math.floor(at / width);
      if (isEmpty[row] === 1) return 0;
      return sees !== undefined && (sees[row] as number) > 0 ? Number.NaN : x;
    });
  };
}

/** 1 for rows of `width` that hold nothing but -inf. */
function emptyRows(scores: Float32Array, width: number): Uint8Array {
  const isHidden = (score: number): boolean => score === Number.NEGATIVE_INFINITY;
  return Uint8Array.from({ length: scores.length / width }, (_, row) =>
    scores.subarray(row * width, (row + 1) * width).every(isHidden) ? 1 : 0,
  );
}
