import { describe, expect, test } from 'vitest';
import { errorBetween, worse } from '../../src/choosing-k/output-error.js';

const logs = (...shares: number[]): number[] => shares.map(Math.log);

describe('errors of outputs', () => {
  test('by their definitions, as means over rows', () => {
    const exact = { width: 2, values: [...logs(0.5, 0.5), ...logs(0.75, 0.25)] };
    // Logits may be shifted: only differences count.
    const other = [...logs(0.25, 0.75), ...logs(0.75, 0.25).map((x) => x + 3)];
    const error = errorBetween(exact, other, true);
    const first = 0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75);
    expect(error.kl).toBeCloseTo(first / 2, 12);
    // Of equal ones the first is the largest.
    expect(error.argmax).toBe(0.5);
  });

  test('a share of rows is exact: three of ten are 0.3', () => {
    const exact = { width: 2, values: Array.from({ length: 20 }, (_, at) => at % 2) };
    const other = exact.values.map((value, at) => (at < 6 ? 1 - value : value));
    expect(errorBetween(exact, other, true).argmax).toBe(0.3);
  });

  test('cosines of vectors', () => {
    const exact = { width: 2, values: [1, 0, 3, 4] };
    expect(errorBetween(exact, [0, 2, 6, 8], false)).toEqual({ cosine: expect.closeTo(0.5, 12) });
    expect(errorBetween(exact, [-1, 0, 3, 4], false).cosine).toBeCloseTo(1, 12);
    expect(errorBetween({ width: 2, values: [0, 0] }, [0, 0], false).cosine).toBe(0);
    expect(errorBetween({ width: 2, values: [0, 0] }, [0, 1], false).cosine).toBe(1);
  });

  test('equal outputs have none, however large', () => {
    const values = [1000, 0, -1000, Number.NEGATIVE_INFINITY];
    expect(errorBetween({ width: 4, values }, values, true)).toMatchObject({ kl: 0, argmax: 0 });
  });

  test('what the exact model excludes counts nothing; what top-k excludes counts without bound', () => {
    const some = [0, 0, Number.NEGATIVE_INFINITY];
    const all = [0, 0, 0];
    expect(errorBetween({ width: 3, values: some }, all, true).kl).toBeCloseTo(Math.log(3 / 2), 12);
    expect(() => errorBetween({ width: 3, values: [0, Number.NaN, 0] }, all, true)).toThrow(
      expect.objectContaining({ code: 'NAN_FOUND' }),
    );
    expect(() => errorBetween({ width: 3, values: all }, [0, Number.NaN, 0], true)).toThrow(
      expect.objectContaining({ code: 'NAN_FOUND' }),
    );
  });

  test('the worse of two, one by one', () => {
    expect(worse({ kl: 1, argmax: 0, cosine: 3 }, { kl: 2, argmax: 0.5, cosine: 1 })).toEqual({
      kl: 2,
      argmax: 0.5,
      cosine: 3,
    });
  });
});
