import { expect, test } from 'vitest';
import { sharedLength } from '../../src/generation/padded-length.js';

test('a shared length is little longer, and there are few of them', () => {
  const lengths = new Set<number>();
  let before = 0;
  for (let length = 1; length <= 4096; length++) {
    const shared = sharedLength(length);
    expect(shared).toBeGreaterThanOrEqual(Math.max(length, before));
    expect(shared - length).toBeLessThan(Math.max(8, Math.min(64, 1 + length / 8)));
    expect(sharedLength(shared)).toBe(shared);
    lengths.add(shared);
    before = shared;
  }
  expect(lengths.size).toBeLessThan(100);
});
