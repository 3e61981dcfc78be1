import { formatCount, formatDuration, formatMebibytes, type Table } from '@topk-attention/app-kit';
import { accuracyOf, type Retrieval } from './run-folder.js';
import type { NeedleConfiguration } from './settings.js';

/** A row per length: accuracy, time and memory of each number of kept keys. */
export function retrievalTable(retrievals: readonly Retrieval[], configuration: NeedleConfiguration): Table {
  const kept = keptOf(retrievals);
  const lengths = [...new Set(retrievals.map(({ tokens }) => tokens))].sort((a, b) => a - b);
  return {
    columns: [
      { title: 'tokens', align: 'right', isHeading: true },
      ...kept.flatMap((k) =>
        [`${keptTitle(k)}: % right`, 'rows', 'per row', 'MiB'].map((title) => ({
          title,
          align: 'right' as const,
        })),
      ),
    ],
    rows: lengths.map((tokens) => [
      formatCount(tokens),
      ...kept.flatMap((k) => {
        const one = retrievals.find((retrieval) => retrieval.k === k && retrieval.tokens === tokens);
        if (one === undefined) return ['', '', '', ''];
        const { rows, rowMs, peakBytes } = one;
        if (rowMs === undefined) return ['does not fit', '', '', ''];
        return [
          accuracyOf(rows, configuration).toFixed(1),
          String(rows.length),
          formatDuration(rowMs),
          peakBytes === undefined ? '' : formatMebibytes(peakBytes),
        ];
      }),
    ]),
  };
}

/** The numbers of kept keys that were tried, in the order of the retrievals. */
export function keptOf(retrievals: readonly Retrieval[]): readonly Retrieval['k'][] {
  return [...new Set(retrievals.map(({ k }) => k))];
}

export function keptTitle(k: Retrieval['k']): string {
  return k === 'exact' ? k : `k ${k}`;
}

/** The same for programs: each retrieval with its accuracy, and without its rows. */
export function retrievalsJson(
  retrievals: readonly Retrieval[],
  configuration: NeedleConfiguration,
): readonly object[] {
  return retrievals.map(({ rows, ...facts }) => ({
    ...facts,
    rows: rows.length,
    ...(facts.refused === undefined && { accuracy: accuracyOf(rows, configuration) }),
  }));
}
