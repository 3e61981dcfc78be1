import { escapeHtml } from './escape-html.js';
import type { Column, Table } from './table.js';

/** A table for `htmlPage`, named by the element with the id `labelledBy`. */
export function htmlTable({ columns, rows }: Table, labelledBy: string): string {
  const titles = columns.map(
    (column) => `<th scope="col"${classOf(column)}>${escapeHtml(column.title)}</th>`,
  );
  const lines = rows.map((row) => `<tr>${row.map((text, at) => cell(text, at, row, columns)).join('')}</tr>`);
  return `<table aria-labelledby="${labelledBy}">
<thead><tr>${titles.join('')}</tr></thead>
<tbody>
${lines.join('\n')}
</tbody>
</table>`;
}

function cell(text: string, at: number, row: readonly string[], columns: readonly Column[]): string {
  const column = columns[at];
  if (at === row.length - 1 && row.length < columns.length)
    return `<td colspan="${columns.length - at}">${escapeHtml(text)}</td>`;
  const name = column?.isHeading ? 'th scope="row"' : 'td';
  return `<${name}${column === undefined ? '' : classOf(column)}>${escapeHtml(text)}</${name.slice(0, 2)}>`;
}

function classOf({ align }: Column): string {
  return align === 'right' ? ' class="number"' : '';
}
