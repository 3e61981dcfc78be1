import type { Engine } from '../../engine/engine.js';
import { matmul } from '../../ops/matmul.js';
import type { TfTensor } from '../../tf.js';

/** Terms [rows, Dv] to be added to a tile's rows, from its scores and weights [rows, visible keys]. */
type TermsOf = (scores: Float32Array, weights: Float32Array, visible: number) => Float32Array;

/**
 * What NaN and infinite values in [pairs, Lk, Dv] add to the rows of the queries that see their keys: weight * value
 * as in plain arithmetic, so 0, NaN or an infinity. Undefined if all values are finite.
 *
 * Computed by two products over the keys with such values. One counts those that a query sees; the other sums the
 * signs of the infinities among them that have a weight above 0. If the two agree up to sign, the sum is that
 * infinity. Otherwise NaN, both infinities or a weight of 0 is among the terms, and the sum is NaN.
 */
export function nonFiniteTerms(engine: Engine, values: TfTensor): TermsOf | undefined {
  const { tf } = engine;
  const [pairs = 1, length = 1, width = 1] = values.shape;
  const data = values.dataSync<'float32'>();
  const keys = keysWithNonFinite(data, length, width);
  const count = keys.length;
  if (count === 0) return undefined;
  const isNonFinite = new Float32Array(pairs * count * width);
  const signs = new Float32Array(pairs * count * width);
  for (let pair = 0, to = 0; pair < pairs; pair++) {
    for (const key of keys) {
      const from = (pair * length + key) * width;
      for (let column = 0; column < width; column++, to++) {
        const value = data[from + column] as number;
        if (Number.isFinite(value)) continue;
        isNonFinite[to] = 1;
        signs[to] = Number.isNaN(value) ? 0 : Math.sign(value);
      }
    }
  }
  const shape: [number, number, number] = [pairs, count, width];
  const [ofAll, ofSigns] = [tf.tensor(isNonFinite, shape), tf.tensor(signs, shape)];
  return (scores, weights, visible) => {
    const rows = scores.length / visible;
    const sees = new Float32Array(rows * count);
    const weighs = new Float32Array(rows * count);
    for (let row = 0, to = 0; row < rows; row++) {
      for (const key of keys) {
        const at = row * visible + key;
        if (key < visible && scores[at] !== Number.NEGATIVE_INFINITY) {
          sees[to] = 1;
          weighs[to] = (weights[at] as number) > 0 ? 1 : 0;
        }
        to++;
      }
    }
    const times = (left: Float32Array, right: TfTensor): Float32Array =>
      matmul(
        engine,
        tf.tensor(left, [pairs, rows / pairs, count]),
        right,
        false,
        false,
      ).dataSync<'float32'>();
    const counts = times(sees, ofAll);
    const sums = times(weighs, ofSigns);
    return counts.map((seen, at) => {
      if (seen === 0) return 0;
      const sum = sums[at] as number;
      return Math.abs(sum) === seen ? sum * Number.POSITIVE_INFINITY : Number.NaN;
    });
  };
}

/** Keys, ascending, with a non-finite value in any of the pairs [pairs, length, width]. */
function keysWithNonFinite(values: Float32Array, length: number, width: number): readonly number[] {
  const found = new Uint8Array(length);
  for (let at = 0; at < values.length; at++) {
    if (!Number.isFinite(values[at])) found[Math.floor(at / width) % length] = 1;
  }
  return Array.from(found.keys()).filter((key) => found[key] === 1);
}
