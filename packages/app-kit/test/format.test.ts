import { expect, test } from 'vitest';
import { formatCount, formatDuration, formatMebibytes } from '../src/format.js';

test.each([
  [849.6, '850 ms'],
  [12_345, '12.3 s'],
  [200_000, '3 min 20 s'],
])('%d ms is %s', (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text));

test('counts and bytes have separators of thousands', () => {
  expect(formatCount(15_400)).toBe('15,400');
  expect(formatMebibytes(1600 * 2 ** 20)).toBe('1,600');
});
