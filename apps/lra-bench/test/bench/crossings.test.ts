import { expect, test } from 'vitest';
import { comparisonTable, comparisonTexts } from '../../src/bench/comparison.js';
import { crossingsOf, crossingTexts, nearText } from '../../src/bench/crossings.js';
import type { BenchResult, BenchRow } from '../../src/bench/result.js';

const line = (lengths: readonly number[], of: (x: number) => number) => lengths.map((x) => ({ x, y: of(x) }));
const lengths = [100, 400, 1600, 6400];
const square = line(lengths, (x) => x * x);

test('powers of the length cross where their formulas say', () => {
  // x^2 = 1000 x at 1000; straight in logarithms, so the estimate is exact.
  const found = crossingsOf(
    line(lengths, (x) => 1000 * x),
    square,
  );
  expect(found).toMatchObject({ isBelow: false, shared: lengths });
  expect(found?.crossings).toHaveLength(1);
  expect(found?.crossings[0]).toMatchObject({ from: 400, to: 1600, isBelowAfter: true });
  expect(found?.crossings[0]?.near).toBeCloseTo(1000, 6);
});

test('only lengths of both count, in any order', () => {
  const linear = line([6400, 100, 50], (x) => 1000 * x);
  expect(crossingsOf(linear, square)?.shared).toEqual([100, 6400]);
  expect(
    crossingsOf(
      line([7], (x) => x),
      square,
    ),
  ).toBeUndefined();
  // Below at 100 and at 6,400: what happens between is not known, and not said.
  expect(
    crossingsOf(
      line([100, 6400], (x) => x),
      square,
    ),
  ).toMatchObject({ isBelow: true, crossings: [] });
});

test('lines that touch do not cross, and equal ones are neither below nor above', () => {
  const points = (...values: readonly number[]) => values.map((y, at) => ({ x: lengths[at] as number, y }));
  const against = (...values: readonly number[]) => crossingsOf(points(...values), points(5, 5, 5, 5));
  expect(against(5, 5, 5, 5)).toMatchObject({ isBelow: undefined, crossings: [] });
  // Within the same half of a hundredth, as peaks are that differ by some bytes.
  expect(against(5.01, 4.99, 5, 5.02)).toMatchObject({ isBelow: undefined, crossings: [] });
  expect(against(4, 5, 4, 4)).toMatchObject({ isBelow: true, crossings: [] });
  expect(against(5, 4, 4, 4)).toMatchObject({ isBelow: true, crossings: [] });
  expect(against(4, 5, 5, 6)).toMatchObject({
    isBelow: true,
    crossings: [{ from: 1600, to: 6400, near: 1600 }],
  });
  expect(against(4, 5.01, 6, 6)?.crossings).toMatchObject([{ from: 400, near: 400, isBelowAfter: false }]);
});

test('a rounded crossing stays between the lengths that it was measured between', () => {
  expect(nearText({ from: 1024, to: 2048, near: 1030, isBelowAfter: true })).toBe('1,024');
  expect(nearText({ from: 1024, to: 1088, near: 1087, isBelowAfter: true })).toBe('1,088');
  expect(nearText({ from: 1024, to: 4096, near: 2870, isBelowAfter: true })).toBe('2,900');
});

const row = (way: string, x: number, milliseconds: number, peakBytes?: number): BenchRow => ({
  ...{ way, x, direction: 'forward + backward' as const, milliseconds },
  ...(peakBytes !== undefined && { peakBytes }),
});
const result: BenchResult = {
  ...{ study: 'mechanisms', title: '', about: '', engine: '', date: '', command: '' },
  rows: [
    ...lengths.map((x) => row('exact', x, x * x, x)),
    ...lengths.map((x) => row('top-k 8', x, 500 * x, 2 * x)),
    row('rfa', 100, 1),
    { way: 'rfa', x: 400, direction: 'forward + backward', refused: 'OUT_OF_MEMORY: no room' },
    row('sbm 8', 100, 1e9),
  ],
  refused: [{ way: 'soft', reason: 'It refuses the task: pixels are moved' }],
};

test('in words: against exact and against top-k, never against itself', () => {
  expect(crossingTexts(result)).toEqual([
    'top-k 8: more time than exact up to about 500 (measured at 400 and 1,600), then less; more memory than exact from 100 to 6,400.',
    'rfa: less time than exact at 100, the only length of both; less time than top-k 8 at 100, the only length of both.',
    'sbm 8: more time than exact at 100, the only length of both; more time than top-k 8 at 100, the only length of both.',
  ]);
});

test('what was left out is said with its reason', () => {
  const texts = comparisonTexts(result).join('\n');
  expect(texts).toContain('rfa: not at 400: OUT_OF_MEMORY: no room.');
  expect(texts).toContain('sbm 8: not at 400, 1,600, 6,400: a pass at the length before took too long.');
  expect(texts).toContain('soft: left out. It refuses the task: pixels are moved');
  const { columns, rows } = comparisonTable(result);
  expect(columns.map(({ title }) => title)).toEqual([
    ...['mechanism', '100', 'MiB', '400', 'MiB', '1,600', 'MiB', '6,400', 'MiB'],
  ]);
  expect(rows.find(([way]) => way === 'rfa')?.slice(0, 4)).toEqual(['rfa', '1 ms', '', 'see below']);
});
