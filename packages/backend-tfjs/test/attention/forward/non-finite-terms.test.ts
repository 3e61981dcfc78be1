import { expect, test } from 'vitest';
import { nonFiniteTerms } from '../../../src/attention/forward/non-finite-terms.js';
import { engineOf } from '../../../src/index.js';
import { cpuTf } from '../../support/engines.js';

const tf = await cpuTf();
const engine = engineOf(tf);

const [pairs, rowsOfPair, length, width] = [2, 5, 7, 3];
let state = 7;
/** A whole number from 0 to below `most`, the same on every run. */
function next(most: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * most);
}

test('finite values add nothing', () => {
  expect(nonFiniteTerms(engine, tf.ones([pairs, length, width]))).toBeUndefined();
});

test.each([1, 2, 4])('terms are those of plain arithmetic where one value in %i is not finite', (share) => {
  const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let trial = 0; trial < 50; trial++) {
    const values = Float32Array.from({ length: pairs * length * width }, () =>
      next(share) === 0 ? (odd[next(odd.length)] as number) : 1,
    );
    for (const visible of [length, 4]) {
      const rows = pairs * rowsOfPair;
      // A visible key may have a weight that rounds to 0.
      const scores = Float32Array.from({ length: rows * visible }, () =>
        next(2) ? 1 : Number.NEGATIVE_INFINITY,
      );
      const weights = scores.map((score) => (score === 1 ? ([0, 0.25][next(2)] as number) : 0));
      const expected = Float32Array.from({ length: rows * width }, (_, at) => {
        const [row, column] = [Math.floor(at / width), at % width];
        let sum = 0;
        for (let key = 0; key < visible; key++) {
          const value = values[(Math.floor(row / rowsOfPair) * length + key) * width + column] as number;
          const isSeen = scores[row * visible + key] === 1;
          if (isSeen && !Number.isFinite(value)) sum += (weights[row * visible + key] as number) * value;
        }
        return sum;
      });
      const terms = nonFiniteTerms(engine, tf.tensor(values, [pairs, length, width]))?.(
        scores,
        weights,
        visible,
      );
      expect(terms).toEqual(expected);
    }
  }
});
