import type { Measurement } from './measure.js';

/** What a run takes. */
export interface Costs {
  readonly milliseconds: number;
  readonly peakBytes: number;
}

export function costsOf({ milliseconds, peakBytes }: Measurement): Costs {
  return { milliseconds, peakBytes };
}

export function mebibytes({ peakBytes }: Costs): string {
  return (peakBytes / 2 ** 20).toFixed(0);
}

export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] as string).length)));
  return all
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] as number))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
