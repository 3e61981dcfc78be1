import { formatCount, formatDuration, formatMebibytes, type Table } from '@topk-attention/app-kit';
import { crossingTexts } from './crossings.js';
import type { BenchResult } from './result.js';

/** A row per mechanism: time and peak at each length. */
export function comparisonTable(result: BenchResult): Table {
  return {
    columns: [
      { title: 'mechanism', isHeading: true },
      ...lengthsOf(result).flatMap((length) => [
        { title: formatCount(length), align: 'right' as const },
        { title: 'MiB', align: 'right' as const },
      ]),
    ],
    rows: waysOf(result).map((way) => [
      way,
      ...lengthsOf(result).flatMap((length) => {
        const row = result.rows.find((one) => one.way === way && one.x === length);
        if (row?.milliseconds === undefined) return [row === undefined ? '' : 'see below', ''];
        const { milliseconds, peakBytes } = row;
        return [formatDuration(milliseconds), peakBytes === undefined ? '' : formatMebibytes(peakBytes)];
      }),
    ]),
  };
}

/** What a comparison has to say beside its charts: crossing points, and what was left out and why. */
export function comparisonTexts(result: BenchResult): readonly string[] {
  const { rows, refused = [] } = result;
  const lengths = lengthsOf(result);
  const unmeasured = waysOf(result).flatMap((way) => {
    const own = rows.filter((row) => row.way === way);
    const missing = lengths.filter((x) => !own.some((row) => row.x === x));
    const why = own.flatMap(({ x, refused: reason }) =>
      reason === undefined ? [] : [`not at ${formatCount(x)}: ${reason}`],
    );
    if (missing.length > 0 && why.length === 0)
      why.push(`not at ${missing.map(formatCount).join(', ')}: a pass at the length before took too long`);
    return why.map((text) => `${way}: ${text}.`);
  });
  return [
    ...crossingTexts(result),
    ...unmeasured,
    ...refused.map(({ way, reason }) => `${way}: left out. ${reason}`),
  ];
}

function waysOf({ rows }: BenchResult): readonly string[] {
  return [...new Set(rows.map(({ way }) => way))];
}

function lengthsOf({ rows }: BenchResult): readonly number[] {
  return [...new Set(rows.map(({ x }) => x))].sort((a, b) => a - b);
}
