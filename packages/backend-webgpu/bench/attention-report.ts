import type { BenchReport } from './attention-bench.js';
import type { EngineReport } from './other-engines.js';
import { markdownTable } from './print-table.js';

/** Printed wherever times of a software adapter are printed. */
export const SOFTWARE_NOTICE: string =
  'SOFTWARE ADAPTER: this GPU is simulated on the CPU. Its times say nothing about the speed of a GPU.';

/** The report as text: what was measured, what was not, and why. */
export function reportText(report: BenchReport, others: readonly EngineReport[]): string {
  const { rows, isSoftware, skipped } = report;
  const ofRow = rows.map((row) => {
    const dense = rows.find(
      (one) =>
        one.method === 'dense exact' &&
        one.length === row.length &&
        one.headDim === row.headDim &&
        one.dtype === row.dtype,
    );
    const ratio = dense === undefined || row.pass !== 'forward' ? '' : (row.ms / dense.ms).toFixed(2);
    return [
      ...[String(row.length), row.method, row.pass, String(row.k ?? 'all'), String(row.headDim), row.dtype],
      // A ratio of two simulated times would read like a result.
      ...[row.ms.toFixed(3), isSoftware ? '' : ratio],
      ...[(row.extraBytes / 2 ** 20).toFixed(1), row.error.toExponential(1), row.path],
    ];
  });
  const ofOthers = others.flatMap(({ name, rows: own }) =>
    own.map((row) => [
      ...[String(row.length), name, 'forward', String(row.k), String(row.headDim), 'f32'],
      ...[row.ms.toFixed(3), '', '', row.error.toExponential(1), row.note],
    ]),
  );
  const head = ['keys', 'method', 'pass', 'k', 'D', 'dtype', 'ms', 'x dense', 'extra MiB', 'error', 'path'];
  return [
    ...(isSoftware ? [SOFTWARE_NOTICE, ''] : []),
    markdownTable([head, ...ofRow, ...ofOthers]),
    '',
    ...skipped.map(
      ({ method, length, reason }) =>
        `not run: ${method}${length === undefined ? '' : ` at ${length} keys`}: ${reason}`,
    ),
    ...others.flatMap(({ name, missing }) => (missing === undefined ? [] : [`not run: ${name}: ${missing}`])),
  ].join('\n');
}
