import { expect, test } from 'vitest';
import { tokensAt, trainingBatch, validationBatches } from '../../src/needles/batch.js';
import { marksOf, needleRow, testRow } from '../../src/needles/rows.js';
import { needleModel, needleTask, needleTraining } from '../../src/needles/settings.js';

const marks = marksOf(needleTask);
const { keyTokens, valueTokens, symbols } = needleTask;
const training = { ...needleTraining, steps: 100, firstTokens: 32, tokens: 100, stepTokens: 200 };
const configuration = {
  task: needleTask,
  mechanism: { name: 'exact' },
  seed: 3,
  model: needleModel,
  training,
} as const;

/** Read from its ids alone. */
function readRow(ids: Int32Array): {
  needle: number;
  key: number[];
  value: number[];
  asked: number[];
  given: number[];
} {
  const needle = ids.indexOf(marks.needle);
  const question = ids.indexOf(marks.question);
  const at = (start: number, length: number): number[] => [...ids.subarray(start, start + length)];
  expect(ids[needle + 1 + keyTokens]).toBe(marks.is);
  expect(ids[question + 1 + keyTokens]).toBe(marks.is);
  // Each mark where it belongs and nowhere else.
  expect([...ids].filter((id) => id >= symbols).sort((a, b) => a - b)).toEqual([
    marks.needle,
    marks.is,
    marks.is,
    marks.question,
  ]);
  return {
    needle,
    key: at(needle + 1, keyTokens),
    value: at(needle + 2 + keyTokens, valueTokens),
    asked: at(question + 1, keyTokens),
    given: at(question + 2 + keyTokens, ids.length),
  };
}

test('a row: noise, one needle, and the question with all of the value but its last token', () => {
  for (let row = 0; row < 50; row++) {
    const { ids, value, depth } = needleRow(needleTask, 64, { seed: 1, split: 'training', row });
    const { needle, key, value: found, asked, given } = readRow(ids);
    expect(ids).toHaveLength(64);
    expect(asked).toEqual(key);
    expect(found).toEqual([...value]);
    expect(given).toEqual([...value.subarray(0, -1)]);
    expect(depth).toBeCloseTo(needle / (64 - 9 - 10));
  }
});

test('the depth is where the needle stands, from the first place to the last before the question', () => {
  const startOf = (depth: number): number =>
    readRow(needleRow(needleTask, 64, { seed: 1, split: 'test', row: 0 }, depth).ids).needle;
  expect([startOf(0), startOf(1)]).toEqual([0, 64 - 9 - 10]);
  const depths = Array.from({ length: 20 }, (_, row) => testRow(needleTask, 5000, 7, row, 20).depth);
  for (const [row, depth] of depths.entries()) {
    expect(depth * 20).toBeGreaterThan(row - 0.1);
    expect(depth * 20).toBeLessThan(row + 1.1);
  }
});

test('rows depend on seed, split and number alone, and are all different', () => {
  const of = (seed: number, split: 'training' | 'test', row: number): string =>
    needleRow(needleTask, 40, { seed, split, row }).ids.join();
  expect(of(1, 'test', 5)).toBe(of(1, 'test', 5));
  expect(new Set([of(1, 'test', 5), of(2, 'test', 5), of(1, 'training', 5), of(1, 'test', 6)]).size).toBe(4);
});

test('the shortest row has room for a needle and a question; a shorter one is an error', () => {
  readRow(needleRow(needleTask, 19, { seed: 1, split: 'test', row: 0 }).ids);
  expect(() => needleRow(needleTask, 18, { seed: 1, split: 'test', row: 0 })).toThrow(/at least 19 tokens/);
});

test('lengths double during the first half of the steps and end at the longest', () => {
  const lengths = Array.from({ length: 100 }, (_, step) => tokensAt(training, step));
  expect([...new Set(lengths)]).toEqual([32, 64, 100]);
  expect(lengths.filter((length) => length === 100)).toHaveLength(50);
  expect(tokensAt({ ...training, firstTokens: 100 }, 0)).toBe(100);
});

test('a step has as many rows as its tokens allow, and no row twice', () => {
  const [first, later] = [trainingBatch(configuration, 0), trainingBatch(configuration, 99)];
  expect([first.rows, first.tokens, later.rows, later.tokens]).toEqual([6, 32, 2, 100]);
  expect(first.values).toHaveLength(6 * valueTokens);
  const same = trainingBatch({ ...configuration, training: { ...training, firstTokens: 100 } }, 98);
  expect(
    new Set([same, later].flatMap(({ ids }) => [ids.slice(0, 100).join(), ids.slice(100).join()])).size,
  ).toBe(4);
  const looked = [...validationBatches({ ...configuration, training: { ...training, validationRows: 5 } })];
  expect(looked.map(({ rows }) => rows)).toEqual([2, 2, 1]);
});
