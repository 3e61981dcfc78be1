import { expect, test } from 'vitest';
import { capacityOf, groupsOf, LARGEST_K, rankOf, shiftOf } from '../../../src/attention/sweeps/sizes.js';

const ks = [1, 2, 7, 8, 32, 64, 100, 128, 255, 256, 512];

test('the expected list is longer than k by several deviations, and fits its capacity by as many', () => {
  for (const k of ks) {
    for (const shift of [1, 2, 3]) {
      const step = 2 ** shift;
      const expected = rankOf(k, shift) * step;
      const deviation = step * Math.sqrt(rankOf(k, shift));
      expect(expected - 3.9 * deviation, `k ${k}, shift ${shift}`).toBeGreaterThan(k);
      expect(expected + 4 * deviation, `k ${k}, shift ${shift}`).toBeLessThan(capacityOf(k));
    }
    expect(rankOf(k, 0)).toBe(k);
    expect(capacityOf(k) % 32).toBe(0);
  }
  expect(capacityOf(128)).toBe(640);
  expect(LARGEST_K).toBe(512);
});

test('there are many more groups than ranks, and the sample of a longer row is sparser', () => {
  for (const k of ks) {
    expect(groupsOf(k)).toBeGreaterThanOrEqual(4 * rankOf(k, 1));
    expect(groupsOf(k) % 128).toBe(0);
    let before = 0;
    for (let visible = 1; visible < 1e6; visible *= 2) {
      const shift = shiftOf(k, visible);
      expect(shift).toBeGreaterThanOrEqual(before);
      before = shift;
    }
    expect(before).toBe(3);
  }
});
