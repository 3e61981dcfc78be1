import { expect, test } from 'vitest';
import { htmlTable } from '../../src/report/html-table.js';

test('titles, headings of rows, numbers, escaped text, and a last cell over the rest of its row', () => {
  const columns = [
    { title: 'who', isHeading: true },
    { title: 'n', align: 'right' },
    { title: 'm' },
  ] as const;
  const rows = [
    ['<a>', '1', '2'],
    ['b', 'failed'],
  ];
  expect(htmlTable({ columns, rows }, 'id')).toBe(`<table aria-labelledby="id">
<thead><tr><th scope="col">who</th><th scope="col" class="number">n</th><th scope="col">m</th></tr></thead>
<tbody>
<tr><th scope="row">&#60;a&#62;</th><td class="number">1</td><td>2</td></tr>
<tr><th scope="row">b</th><td colspan="2">failed</td></tr>
</tbody>
</table>`);
});
