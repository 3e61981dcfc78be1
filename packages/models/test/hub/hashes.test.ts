import { createHash } from 'node:crypto';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { expect, test } from 'vitest';
import { runningHash } from '../../src/hub/hashes.js';

test.each([
  ['sha1', 40],
  ['sha256', 64],
] as const)('%s in pieces is that of the whole', (name, digits) => {
  const random = randomBelow(1);
  for (let length = 0; length < 300; length++) {
    const bytes = Uint8Array.from({ length }, () => random(256));
    const hash = runningHash(digits);
    for (let at = 0; at < length; ) {
      const size = 1 + random(length);
      hash.update(bytes.subarray(at, at + size));
      at += size;
    }
    hash.update(new Uint8Array(0));
    expect(hash.digest()).toBe(createHash(name).update(bytes).digest('hex'));
  }
});

test('a long one', () => {
  const bytes = new Uint8Array(5_000_000).fill(7);
  const hash = runningHash(64);
  hash.update(bytes);
  expect(hash.digest()).toBe(createHash('sha256').update(bytes).digest('hex'));
});
