import { mayMaskKeys } from '@topk-attention/core/backend';
import { slice } from '../../ops/layout.js';
import { matmul } from '../../ops/matmul.js';
import { softmaxRows } from '../../ops/softmax.js';
import type { TfTensor } from '../../tf.js';
import { nonFiniteTerms } from './non-finite-terms.js';
import type { ForwardPass } from './pass.js';

/**
 * Takes the values [pairs, Lk, Dv] of some heads, and returns a function that computes the rows [rows, Dv] of exact
 * attention from the scores [rows, visible keys] of a tile.
 */
export function exactRows(pass: ForwardPass, values: TfTensor): (scores: TfTensor) => Float32Array {
  const { engine, request } = pass;
  const { tf, traits } = engine;
  const [pairs = 1, length = 1, width = 1] = values.shape;
  const firstKeys = (x: TfTensor, visible: number): TfTensor =>
    visible === length ? x : slice(engine, x, [0, 0, 0], [pairs, visible, x.shape[2] as number]);
  // Both paths use the same softmax, so keys that a query does not see change no bit of its result. Rows of all
  // -inf are NaN here and are corrected in the product, which is smaller.
  const softmax = (scores: TfTensor): TfTensor =>
    traits.softmax === 'loop' ? softmaxRows(engine, scores) : tf.softmax(scores);
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
      // All inputs are numbers, so NaN can only come from a softmax over nothing.
      return mayMaskKeys(request) ? found.map((x) => (Number.isNaN(x) ? 0 : x)) : found;
    };
  }
  // A key with score -inf has weight 0, but 0 * NaN is NaN. So non-finite values are left out of the product, and
  // their terms are added for the queries that see their keys.
  const termsOf = nonFiniteTerms(engine, values);
  const isFinite = tf.less(tf.abs(values), Number.POSITIVE_INFINITY);
  const safe = tf.where(isFinite, values, tf.zerosLike(values));
  return (scores) => {
    const visible = scores.shape[1] as number;
    const weights = softmax(scores);
    const ofPairs = tf.reshape(weights, [pairs, -1, visible]);
    const rows = matmul(engine, ofPairs, firstKeys(safe, visible), false, false).dataSync<'float32'>();
    const own = scores.dataSync<'float32'>();
    const terms = termsOf?.(own, weights.dataSync<'float32'>(), visible);
    const isEmpty = emptyRows(own, visible);
    return rows.map((x, at) => (isEmpty[Math.floor(at / width)] === 1 ? 0 : x + (terms?.[at] ?? 0)));
  };
}

/** 1 for rows of `width` scores that are all -inf. */
function emptyRows(scores: Float32Array, width: number): Uint8Array {
  const isHidden = (score: number): boolean => score === Number.NEGATIVE_INFINITY;
  return Uint8Array.from({ length: scores.length / width }, (_, row) =>
    scores.subarray(row * width, (row + 1) * width).every(isHidden) ? 1 : 0,
  );
}
