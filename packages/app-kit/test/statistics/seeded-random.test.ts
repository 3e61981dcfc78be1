import { expect, test } from 'vitest';
import { seededRandom } from '../../src/statistics/seeded-random.js';

test('the same seed gives the same numbers, another seed others, all in [0, 1)', () => {
  const first = (seed: number): number[] => Array.from({ length: 100 }, seededRandom(seed));
  expect(first(3)).toEqual(first(3));
  expect(first(3)).not.toEqual(first(4));
  for (const value of first(5)) {
    expect(value).toBeGreaterThanOrEqual(0);
    expect(value).toBeLessThan(1);
  }
});
