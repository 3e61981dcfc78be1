import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect, test } from 'vitest';
import { type BenchReport, runAttentionBench } from '../../bench/attention-bench.js';
import { reportText, SOFTWARE_NOTICE } from '../../bench/attention-report.js';
import { exactRow, isRightSet, RelativeError } from '../../bench/oracle.js';
import { tableRows, tableSizes } from '../../bench/table-rows.js';

describe('the oracle of the benchmarks', () => {
  // Scores 2, 3, 1, 3 at D = 4 (scale 1/2).
  const head = {
    k: [4, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0],
    v: [1, 2, 3, 4],
    keys: 4,
    dim: 4,
    valueDim: 1,
  };

  test('keeps the largest, the lower index of equal ones', () => {
    expect(exactRow(head, [1, 0, 0, 0], 4, 1).kept).toEqual([1]);
    expect(exactRow(head, [1, 0, 0, 0], 4, 2).kept).toEqual([1, 3]);
    expect(exactRow(head, [1, 0, 0, 0], 3, 2).kept).toEqual([0, 1]);
    expect(exactRow(head, [1, 0, 0, 0], 4, 2).output[0]).toBeCloseTo(3, 12);
  });

  test('a set is right up to keys that rounding cannot tell apart', () => {
    const row = exactRow(head, [1, 0, 0, 0], 4, 1);
    expect(isRightSet(row, [1], 1)).toBe(true);
    expect(isRightSet(row, [3], 1)).toBe(true);
    expect(isRightSet(row, [0], 1)).toBe(false);
    expect(isRightSet(row, [], 1)).toBe(false);
  });

  test('a NaN is an error', () => {
    const error = new RelativeError();
    error.add([Number.NaN], [1]);
    expect(error.value).toBe(Number.POSITIVE_INFINITY);
  });
});

test('the table has its rows, each once', () => {
  const rows = tableRows(tableSizes(1));
  expect(rows.map(({ label }) => label)).toContain('forward + backward, L = 65,536');
  expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length);
});

const software = softwareGpuAvailability();
const thorough = software.available ? thoroughAvailability() : software;

optional('a benchmark on the software GPU, which says so', thorough, async () => {
  const report: BenchReport = await runAttentionBench({
    lengths: [24],
    ks: [4],
    headDims: [16],
    dtypes: ['f32'],
    heads: 2,
    causal: true,
    backward: true,
    rounds: undefined,
    hasDawn: true,
  });
  expect(report.isSoftware).toBe(true);
  expect(report.rows.map(({ method, pass }) => `${method}, ${pass}`)).toEqual([
    'top-k, plain, forward',
    'top-k, plain, forward + backward',
    'dense exact, forward',
    'composed of primitives, forward',
    'composed of primitives, forward + backward',
  ]);
  for (const row of report.rows) {
    expect(row.ms).toBeGreaterThan(0);
    expect(row.error).toBeLessThan(1e-5);
    expect(row.timing.rounds).toBe(1);
  }
  expect(report.rows.at(-1)?.extraBytes).toBeGreaterThan(0);
  expect(report.skipped.map(({ method }) => method)).toEqual(['top-k, tensor']);
  const text = reportText(report, [{ name: 'another engine', rows: [], missing: 'not installed' }]);
  expect(text.startsWith(SOFTWARE_NOTICE)).toBe(true);
  expect(text).toContain('not run: another engine: not installed');
});
