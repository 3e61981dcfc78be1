import { halfToNumber, numberToHalf } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import {
  absoluteBound,
  KEY_EXPONENT,
  QUERY_NORM,
  RELATIVE_BOUND,
} from '../../../src/attention/tensor/error-bound.js';
import { randomNumbers } from '../../support/tensor.js';

/** As a device may see an f16: what lies below the normal range is zero. */
function half(x: number): number {
  const rounded = halfToNumber(numberToHalf(x));
  return Math.abs(rounded) < 2 ** -14 ? 0 : rounded;
}

/** |s16 - s| / E of one query and key, in f64 but for the rounding to f16. `largest` is the head's largest element. */
function shareOfBound(q: readonly number[], k: readonly number[], largest: number): number {
  const factor = 2 ** (KEY_EXPONENT - Math.floor(Math.log2(largest)));
  const turn = QUERY_NORM / Math.hypot(...q);
  let error = 0;
  let square = 0;
  q.forEach((x, d) => {
    const key = (k[d] as number) * factor;
    const exact = x * turn * key;
    error += half(x * turn) * half(key) - exact;
    square += key * key;
  });
  const bound = QUERY_NORM * Math.sqrt(square) * RELATIVE_BOUND + absoluteBound(q.length);
  return Math.abs(error) / bound;
}

const random = randomNumbers(99);
const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const draw = (size: number, of: (d: number) => number): number[] =>
  Array.from({ length: size }, (_, d) => of(d));

/** Numbers that lie halfway between two f16, where rounding errs most, all in one direction after scaling by `turn`. */
function halfway(exponent: number): number {
  // Odd multiples of half a unit in the last place next above a power of two, to be rounded to even downwards.
  return 2 ** exponent * (1 + 2 ** -11);
}

for (const headDim of [16, 64, 128]) {
  test(`the bound holds, D = ${headDim}`, () => {
    const families: Record<string, () => [number[], number[], number]> = {
      normal: () => [draw(headDim, normal), draw(headDim, normal), 6],
      'one large element': () => [
        draw(headDim, normal),
        draw(headDim, (d) => (d === 3 ? 1e6 : normal())),
        1e6,
      ],
      'far below the largest': () => [draw(headDim, normal), draw(headDim, () => 1e-7 * normal()), 1e3],
      'wide range': () => [
        draw(headDim, () => normal() * 2 ** (20 * random() - 10)),
        draw(headDim, () => normal() * 2 ** (30 * random() - 20)),
        2 ** 14,
      ],
      'past 65,504': () => [draw(headDim, normal), draw(headDim, () => 1e6 * normal()), 6e6],
      'subnormal in f16': () => [draw(headDim, normal), draw(headDim, () => 1e-6 * normal()), 6e-6],
      'queries with few elements that count': () => [
        draw(headDim, (d) => (d === 0 ? 1 : 3e-6 * random())),
        draw(headDim, () => 1),
        1,
      ],
    };
    for (const [name, family] of Object.entries(families)) {
      for (let round = 0; round < 2000; round++) expect(shareOfBound(...family()), name).toBeLessThan(1);
    }
  });
}

test('the bound is not idle: rows made to err come near it', () => {
  // |q| = 16 exactly, so that q * r is q: 64 elements of 2, moved to halfway points in pairs that keep the length.
  const k = draw(64, () => halfway(6));
  const q = draw(64, () => 2);
  const oneSided = shareOfBound(q, k, 100);
  expect(oneSided).toBeGreaterThan(0.35);
  expect(oneSided).toBeLessThan(0.5);
  let worst = 0;
  for (let step = 0; step < 4096; step++) {
    // Both factors near halfway: q through its scale, k by itself.
    const tilted = draw(64, (d) => (d === 0 ? 2 + step / 2048 : halfway(1)));
    worst = Math.max(worst, shareOfBound(tilted, k, 100));
  }
  expect(worst).toBeGreaterThan(0.6);
  expect(worst).toBeLessThan(1);
});
