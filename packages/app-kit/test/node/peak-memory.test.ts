import { expect, test } from 'vitest';
import { peakBytes } from '../../src/node/peak-memory.js';

test('the peak grows with what is held, and stays when it is gone', () => {
  const before = peakBytes();
  // More than the process can have had free within its present size.
  const size = before + 64 * 2 ** 20;
  new Uint8Array(size).fill(1);
  const after = peakBytes();
  expect(after).toBeGreaterThanOrEqual(size);
  expect(peakBytes()).toBeGreaterThanOrEqual(after);
});
