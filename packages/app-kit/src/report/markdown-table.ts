import type { Table } from './table.js';

/** A table in Markdown. */
export function markdownTable({ columns, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(' | ')} |`;
  const rules = columns.map(({ align }) => (align === 'right' ? '---:' : '---'));
  const whole = rows.map((row) => columns.map((_, at) => row[at] ?? ''));
  return [line(columns.map(({ title }) => title)), `| ${rules.join(' | ')} |`, ...whole.map(line)].join('\n');
}

function escaped(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\s+/g, ' ');
}
