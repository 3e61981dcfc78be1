import { expect, test } from 'vitest';
import { markdownTable } from '../../src/report/markdown-table.js';

test('columns, alignment, missing cells, bars', () => {
  const columns = [{ title: 'task' }, { title: '%', align: 'right' as const }];
  expect(markdownTable({ columns, rows: [['a|b', '1'], ['c']] })).toBe(
    '| task | % |\n| --- | ---: |\n| a\\|b | 1 |\n| c |  |',
  );
});
