import { formatDuration, type Interval, type Table } from '@topk-attention/app-kit';
import type { VariantSummary } from '../evaluation/summary.js';

/** One row per variant: scores, differences to exact, time. */
export function scoreTable(summaries: readonly VariantSummary[]): Table {
  return {
    columns: [
      { title: 'variant' },
      { title: 'EM', align: 'right' },
      { title: 'F1', align: 'right' },
      { title: 'EM - exact (95 %)', align: 'right' },
      { title: 'F1 - exact (95 %)', align: 'right' },
      { title: 'same answer', align: 'right' },
      { title: 'time each', align: 'right' },
    ],
    rows: summaries.map((each) => [
      each.name,
      each.exactMatch.toFixed(1),
      each.f1.toFixed(1),
      each.difference ? points(each.difference.exactMatch) : '',
      each.difference ? points(each.difference.f1) : '',
      `${each.sameAsExact.toFixed(1)} %`,
      formatDuration(each.milliseconds),
    ]),
  };
}

/** One row per group, one column per variant: exact match. Undefined if there are no groups. */
export function groupTable(summaries: readonly VariantSummary[]): Table | undefined {
  const groups = summaries[0]?.groups ?? [];
  if (groups.length < 2) return undefined;
  const mean = ['mean', '', ...summaries.map((each) => each.exactMatch.toFixed(1))];
  return {
    columns: [
      { title: 'task' },
      { title: 'questions', align: 'right' },
      ...summaries.map((each) => ({ title: each.name, align: 'right' as const })),
    ],
    rows: [
      ...groups.map(({ group, questions }, at) => [
        group,
        String(questions),
        ...summaries.map((each) => (each.groups[at]?.exactMatch ?? Number.NaN).toFixed(1)),
      ]),
      mean,
    ],
  };
}

function points({ mean, low, high }: Interval): string {
  return `${signed(mean)} (${signed(low)} to ${signed(high)})`;
}

function signed(value: number): string {
  const text = Math.abs(value).toFixed(1);
  return text === '0.0' ? text : `${value < 0 ? '-' : '+'}${text}`;
}
