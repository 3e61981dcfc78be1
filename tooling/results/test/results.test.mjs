import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { chartSvg } from '../chart.mjs';
import { pageText, staleResults } from '../pages.mjs';
import { cellText, tableMarkdown, tableOf } from '../table.mjs';

const printed = `a line before

| keys  | method | x dense | error |
| ----- | ------ | ------- | ----- |
| 8,192 | dense  | 1.00    | 2e-8  |
| 8,192 | top-k  | 1.5     |       |
`;
const table = {
  columns: [{ name: 'keys' }, { name: 'method' }, { name: 'x dense' }, { name: 'error' }],
  rows: [
    [8192, 'dense', 1, 2e-8],
    [8192, 'top-k', 1.5, null],
  ],
};

test('a printed table is read, numbers as numbers', () => {
  expect(tableOf(printed)).toEqual(table);
  expect(tableOf('| a |\n|---|\n| 1.50 |\n| 12.25 |').columns).toEqual([{ name: 'a', digits: 2 }]);
  expect(() => tableOf('nothing')).toThrow('no table');
});

test('cells have separators and the digits of their column', () => {
  expect([cellText(1234567), cellText(1.5, 2), cellText(2.5e-8), cellText(null), cellText('a')]).toEqual([
    '1,234,567',
    '1.50',
    '2.5e-8',
    '',
    'a',
  ]);
});

const result = {
  title: 'T',
  date: '2026-01-02',
  device: 'a machine (quiet)',
  versions: 'v',
  setup: 's',
  commands: [],
  tables: { one: table },
};

test('a page holds its tables, and says where they come from', () => {
  const page = 'before\n<!-- table: r#one -->\nold\n<!-- /table -->\nafter';
  const text = pageText(page, 'docs/kernels/x.md', new Map([['r', result]]));
  expect(text).toContain(tableMarkdown(table));
  expect(text).toContain('a machine (quiet); v; 2026-01-02. [Data and command](../results/r.json)');
  expect(text).not.toContain('old');
  expect(pageText(text, 'docs/kernels/x.md', new Map([['r', result]]))).toBe(text);
  expect(() => pageText(page, 'docs/x.md', new Map())).toThrow('docs/x.md: docs/results has no r#one');
});

test('a chart has a bar for each value, the longest for the largest', () => {
  const chart = {
    ...{ file: 'c.svg', title: 'A & B', unit: 'ms', table: 'one' },
    ...{ label: 'method', value: 'x dense', bars: { dense: 'dense', 'top-k': 'ours' }, ours: ['top-k'] },
    group: /** @type {[string, string]} */ (['keys', ' keys']),
  };
  const svg = chartSvg(chart, result);
  const widths = Array.from(svg.matchAll(/class="(?:ours|other)" x="\d+" y="\d+" width="(\d+)"/g), ([, w]) =>
    Number(w),
  );
  expect(widths).toHaveLength(2);
  expect((widths[1] ?? 0) / (widths[0] ?? 1)).toBeCloseTo(1.5, 2);
  expect(svg).toContain('A &amp; B');
  expect(svg).toContain('>8,192 keys<');
  expect(() => chartSvg({ ...chart, value: 'error' }, result)).toThrow('not a number');
});

test('the pages and charts of this repository are up to date', () => {
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  expect(staleResults(root).map(({ file }) => file)).toEqual([]);
});
