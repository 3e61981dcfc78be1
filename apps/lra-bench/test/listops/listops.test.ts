import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { optional } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import { expressionOf, publishedListOps } from '../../src/listops/generate.js';
import { listOpsLine, readListOps } from '../../src/listops/read.js';
import { depthOf, idsOfText, textOf, valueOf } from '../../src/listops/text.js';
import { FIRST_OPERATOR } from '../../src/listops/vocabulary.js';

/** A folder with rows that the official generator's rules gave elsewhere: `listops/basic_train.tsv.gz`. */
const OTHERS = process.env.TOPK_LRA_DATA;

test('an expression to ids, to its value, and back', () => {
  const text = '( ( ( [MAX 4 ) ( ( ( ( [MIN 2 ) 3 ) 7 ) ] ) ) ] )';
  const ids = idsOfText(text);
  expect(ids).toHaveLength(8);
  expect(valueOf(ids)).toBe(4);
  expect(depthOf(ids)).toBe(3);
  expect(textOf(ids)).toBe(text);
});

test.each([
  ['[MED 1 2 3 9 ]', 2],
  ['[MED 1 2 5 9 8 ]', 5],
  ['[SM 9 9 [SM 5 6 ] ]', 9],
  ['[MIN 5 [MAX 1 2 ] 7 ]', 2],
  ['7', 7],
])('%s is %i', (text, value) => {
  expect(valueOf(idsOfText(text))).toBe(value);
});

test.each(['[MAX 1 2', ']', '1 2', '[MAX ]', '[MAX 1 ] 3'])("'%s' is no expression", (text) => {
  expect(() => valueOf(idsOfText(text))).toThrow();
});

test('rows depend on seed, split and index alone, and no two are equal', () => {
  const texts = Array.from({ length: 50 }, (_, row) => expressionOf(publishedListOps, 7, 0, row).ids.join());
  expect(expressionOf(publishedListOps, 7, 0, 33).ids.join()).toBe(texts[33]);
  expect(new Set([...texts, expressionOf(publishedListOps, 8, 0, 0).ids.join()]).size).toBe(51);
  expect(expressionOf(publishedListOps, 7, 1, 0).ids.join()).not.toBe(texts[0]);
});

interface Distribution {
  readonly lengths: number[];
  readonly depths: number[];
  readonly answers: number[];
  readonly operators: number[];
}

function distributionOf(rows: Iterable<{ readonly ids: Uint8Array; readonly value: number }>): Distribution {
  const found: Distribution = {
    lengths: [],
    depths: [],
    answers: Array(10).fill(0),
    operators: [0, 0, 0, 0],
  };
  for (const { ids, value } of rows) {
    found.lengths.push(ids.length);
    found.depths.push(depthOf(ids));
    found.answers[value] = (found.answers[value] as number) + 1;
    for (const id of ids) {
      const operator = id - FIRST_OPERATOR;
      if (operator >= 0 && operator < 4)
        found.operators[operator] = (found.operators[operator] as number) + 1;
    }
  }
  return found;
}

function* generated(count: number): Generator<{ readonly ids: Uint8Array; readonly value: number }> {
  for (let row = 0; row < count; row++) yield expressionOf(publishedListOps, 1, 0, row);
}

/** The largest distance between two empirical distribution functions. */
function kolmogorovSmirnov(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [a, b].map((values) => [...values].sort((p, q) => p - q)) as [number[], number[]];
  const share = (values: readonly number[], at: number): number =>
    values.filter((value) => value <= at).length / values.length;
  return Math.max(...[...new Set([...x, ...y])].map((at) => Math.abs(share(x, at) - share(y, at))));
}

/** Of two counts, in units of their standard deviation when both are drawn from one distribution. */
function deviations(a: readonly number[], b: readonly number[]): readonly number[] {
  const total = (of: readonly number[]): number => of.reduce((sum, one) => sum + one, 0);
  const [n, m] = [total(a), total(b)];
  return a.map((one, at) => {
    const other = b[at] as number;
    const p = (one + other) / (n + m);
    return Math.abs(one / n - other / m) / Math.sqrt(p * (1 - p) * (1 / n + 1 / m));
  });
}

const ROWS = 3000;

describe('the distribution of generated rows', () => {
  const own = distributionOf(generated(ROWS));

  test('is that of the published facts', () => {
    const { lengths, depths, answers } = own;
    const sorted = [...lengths].sort((a, b) => a - b);
    expect(sorted[0]).toBeGreaterThan(500);
    expect(sorted.at(-1)).toBeLessThan(2000);
    // Median 956 and mean 1,041 over 12,000 official rows; four standard errors of 3,000 rows.
    expect(Math.abs((sorted[ROWS / 2] as number) - 956)).toBeLessThan(40);
    expect(Math.abs(lengths.reduce((sum, one) => sum + one, 0) / ROWS - 1041)).toBeLessThan(30);
    expect(Math.max(...depths)).toBe(10);
    // Answers 0 and 9 take 16.6 to 17.7 % each, the others 7 to 9.6 %.
    for (const value of [0, 9])
      expect(Math.abs((answers[value] as number) / ROWS - 0.17)).toBeLessThan(0.028);
    for (const value of [1, 2, 3, 4, 5, 6, 7, 8])
      expect(Math.abs((answers[value] as number) / ROWS - 0.083)).toBeLessThan(0.035);
  });

  const file = join(OTHERS ?? '', 'listops', 'basic_train.tsv.gz');
  const availability = {
    need: 'lra-data',
    available: existsSync(file),
    reason: 'TOPK_LRA_DATA names no folder with listops/basic_train.tsv.gz',
  };

  optional(
    'is that of 12,000 rows made elsewhere: length, depth, answers, operators',
    availability,
    async () => {
      const rows = await readListOps(file);
      const others = distributionOf(
        (function* () {
          for (let row = 0; row < rows.length; row++)
            yield { ids: rows.document(row), value: rows.label(row) };
        })(),
      );
      expect(others.lengths).toHaveLength(12_000);
      // Two samples of one distribution exceed this distance once in a thousand pairs.
      const most = 1.95 * Math.sqrt((ROWS + 12_000) / (ROWS * 12_000));
      expect(kolmogorovSmirnov(own.lengths, others.lengths)).toBeLessThan(most);
      expect(kolmogorovSmirnov(own.depths, others.depths)).toBeLessThan(most);
      expect(Math.max(...deviations(own.answers, others.answers))).toBeLessThan(4);
      expect(Math.max(...deviations(own.operators, others.operators))).toBeLessThan(5);
      // Their text is what ours would be.
      expect(listOpsLine(rows.document(0), rows.label(0))).toContain(textOf(rows.document(0)));
    },
  );
});
