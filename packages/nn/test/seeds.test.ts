import { expect, test } from 'vitest';
import { seedsFrom } from '../src/index.js';

test('a seed is a whole number below 2^53 that depends on the number and on the path', () => {
  const paths = Array.from({ length: 200 }, (_, at) => `encoder.${at}.attention`);
  const numbers = [0, 1, 2, 1000, Number.MAX_SAFE_INTEGER];
  const seeds = numbers.flatMap((number) => paths.map((path) => seedsFrom(number)(path)));
  expect(new Set(seeds).size).toBe(seeds.length);
  for (const seed of seeds) {
    expect(Number.isSafeInteger(seed)).toBe(true);
    expect(seed).toBeGreaterThanOrEqual(0);
  }
  // All 53 bits are in use.
  expect(Math.max(...seeds)).toBeGreaterThan(0.9 * Number.MAX_SAFE_INTEGER);
  expect(seedsFrom(7)('a')).toBe(seedsFrom(7)('a'));
});

test.each([-1, 0.5, Number.NaN, 2 ** 53])('%d is no seed', (seed) => {
  expect(() => seedsFrom(seed)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});
