import { describe, expect, test } from 'vitest';
import { bootstrapMean, meanOfGroups } from '../../src/statistics/bootstrap.js';
import { seededRandom } from '../../src/statistics/seeded-random.js';

describe('bootstrap', () => {
  test('of a constant has no width', () => {
    expect(bootstrapMean([[2, 2, 2], [2]], 1)).toEqual({ mean: 2, low: 2, high: 2 });
  });

  test('is near the interval of the normal distribution where that holds', () => {
    const random = seededRandom(7);
    const values = Array.from({ length: 400 }, () => random());
    const { mean, low, high } = bootstrapMean([values], 2021);
    const average = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - average) ** 2, 0) / values.length;
    const margin = 1.96 * Math.sqrt(variance / values.length);
    expect(mean).toBeCloseTo(average, 12);
    expect(low).toBeGreaterThan(average - 1.1 * margin);
    expect(low).toBeLessThan(average - 0.9 * margin);
    expect(high).toBeGreaterThan(average + 0.9 * margin);
    expect(high).toBeLessThan(average + 1.1 * margin);
  });

  test('repeats itself', () => {
    const groups = [[0, 100, 0], [100]];
    expect(bootstrapMean(groups, 5)).toEqual(bootstrapMean(groups, 5));
  });

  test('means are over groups, not over questions', () => {
    expect(meanOfGroups([[0, 0, 0], [100]])).toBe(50);
  });
});
