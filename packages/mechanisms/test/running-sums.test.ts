import { tensor, zeros } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { countBelow } from '../src/count-below.js';
import { runningSums } from '../src/running-sums.js';
import { backend } from './support/goldens.js';
import { randomNumbers } from './support/random.js';

/** Numbers in [0, 1), a third of them 0. */
function numbersOf(seed: number, count: number): Float64Array {
  const next = randomNumbers(seed);
  return Float64Array.from({ length: count }, () => Math.max(0, next() + 1 / 3));
}

describe('running sums', () => {
  test.each([1, 2, 63, 64, 65, 256, 257, 320, 1000, 20_000])('of %i entries', async (length) => {
    const rows = length > 1000 ? 1 : 3;
    const numbers = numbersOf(length, rows * length);
    const made = runningSums(tensor(backend, numbers, [rows, 1, length]));
    expect(made.shape).toEqual([rows, 1, length]);
    const sums = await made.data();
    for (let row = 0; row < rows; row++) {
      let all = 0;
      for (let at = row * length; at < (row + 1) * length; at++) {
        all += numbers[at] as number;
        expect(Math.abs((sums[at] as number) - all)).toBeLessThanOrEqual(1e-12 * all);
      }
    }
  });

  test.each([200, 5000])(
    'of %i entries do not fall in f32, but by a rounding at the border of a block',
    async (length) => {
      const sums = await runningSums(tensor(createReferenceBackend(), numbersOf(7, length), [length])).data();
      for (let at = 1; at < length; at++) {
        const [before, own] = [sums[at - 1] as number, sums[at] as number];
        expect(own).toBeGreaterThanOrEqual(length > 256 && at % 64 === 0 ? before * (1 - 2e-7) : before);
      }
    },
  );
});

describe('how many entries lie below a target', () => {
  test.each([0, 1, 2, 3, 4, 7, 8, 9, 31, 32, 33, 129])('of %i entries, from a place on', async (count) => {
    const [rows, targets, first] = [3, 50, 2];
    const width = first + count + 3;
    const next = randomNumbers(count + 1);
    // Equal neighbours, too. Entries outside of the range would be counted: they lie below all targets.
    const entries = Array.from({ length: rows }, () => {
      const inside = Array.from({ length: count }, () => Math.round(4 * next()) / 4).sort((a, b) => a - b);
      return [-9, -9, ...inside, -9, -9, -9];
    });
    const wanted = Float64Array.from({ length: rows * targets }, (_, at) =>
      at % 3 === 0 ? Math.round(4 * next()) / 4 : 1.2 * next(),
    );
    const table = tensor(backend, Float64Array.from(entries.flat()), [rows, width]);
    const [asked, places] = [
      tensor(backend, wanted, [rows, targets]),
      tensor(backend, new Int32Array(rows * targets).fill(first), [rows, targets]),
    ];
    const made = countBelow(table, asked, count, places);
    const expected = Array.from(wanted, (target, at) => {
      const own = (entries[Math.floor(at / targets)] as number[]).slice(first, first + count);
      return own.filter((entry) => entry < target).length;
    });
    expect(made.dtype).toBe('i32');
    expect(Array.from(await made.data())).toEqual(expected);
    // Without places, from the first entry on.
    const cut = tensor(backend, Float64Array.from(entries.flatMap((row) => row.slice(first))), [
      rows,
      width - first,
    ]);
    expect(Array.from(await countBelow(cut, asked, count).data())).toEqual(expected);
  });

  test.each([
    [2, 0],
    [0, 3],
  ])('of %i rows of %i targets', async (rows, targets) => {
    const [table, asked] = [zeros(backend, [rows, 4]), zeros(backend, [rows, targets])];
    const made = countBelow(table, asked, 4, zeros(backend, [rows, targets], 'i32'));
    expect(made).toMatchObject({ shape: [rows, targets], dtype: 'i32' });
    expect(await made.data()).toHaveLength(0);
  });
});
