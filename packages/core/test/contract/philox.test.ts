import { expect, test } from 'vitest';
import { philox4x32, philoxBits, philoxKey, randomWord } from '../../src/contract/philox.js';

// Random123 1.14, tests/kat_vectors: "philox4x32 10".
test.each([
  { counter: [0, 0, 0, 0], key: [0, 0], words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
  {
    counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    key: [0xffffffff, 0xffffffff],
    words: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  },
  {
    counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    key: [0xa4093822, 0x299f31d0],
    words: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  },
] as const)('philox4x32-10 of Random123 known answers, key $key', ({ counter, key, words }) => {
  expect(philox4x32(counter, key)).toEqual(words);
});

test('a seed above 32 bits reaches both key words', () => {
  expect(philoxKey(0)).toEqual([0, 0]);
  expect(philoxKey(2 ** 32 + 5)).toEqual([5, 1]);
  expect(philoxKey(Number.MAX_SAFE_INTEGER)).toEqual([0xffffffff, 0x1fffff]);
});

test('the bits of a shape are those of its coordinates, counted from the offset and wrapping', () => {
  const bits = philoxBits(7, [1, 2, 3, 2 ** 32 - 1], [2, 1, 3, 2]);
  expect(bits.length).toBe(12);
  const at = (a: number, c: number, d: number): number =>
    (philox4x32([a, 2, c, d >>> 2], philoxKey(7))[d & 3] as number) | 0;
  expect(bits[0]).toBe(at(1, 3, 2 ** 32 - 1));
  expect(bits[1]).toBe(at(1, 3, 0));
  expect(bits[11]).toBe(at(2, 5, 0));
  expect(philoxBits(7, [1, 2, 3, 4], [2])).toEqual(philoxBits(7, [1, 2, 3, 4], [2, 1, 1, 1]));
});

test('four neighbours are the four words of a counter, wherever a row begins', () => {
  const key = philoxKey(99);
  const whole = Array.from(philoxBits(99, [4, 5, 6, 0], [1, 1, 1, 24]), (bits) => bits >>> 0);
  for (let call = 0; call < 6; call++) {
    expect(whole.slice(4 * call, 4 * call + 4)).toEqual(philox4x32([4, 5, 6, call], key));
  }
  for (let start = 0; start < 9; start++) {
    for (const length of [1, 2, 3, 4, 5, 8, 15]) {
      const part = philoxBits(99, [4, 5, 6, start], [1, 1, 1, length]);
      expect(Array.from(part, (bits) => bits >>> 0)).toEqual(whole.slice(start, start + length));
    }
    expect(randomWord([4, 5, 6, start], key)).toBe(whole[start]);
  }
});
