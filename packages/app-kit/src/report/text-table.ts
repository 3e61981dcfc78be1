import type { Table } from './table.js';

/** A table for a terminal; each column is as wide as its widest cell. */
export function textTable({ columns, rows }: Table): string {
  const cut = (text: string, most = Number.POSITIVE_INFINITY): string =>
    text.length > most ? `${text.slice(0, most - 1)}…` : text;
  const cells = [columns.map((column) => column.title), ...rows].map((row) =>
    columns.map((column, at) => cut((row[at] ?? '').replace(/\s+/g, ' '), column.maxWidth)),
  );
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => (row[at] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        return columns[at]?.align === 'right' ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  const [titles = [], ...body] = cells;
  return [line(titles), widths.map((width) => '-'.repeat(width)).join('  '), ...body.map(line)].join('\n');
}
