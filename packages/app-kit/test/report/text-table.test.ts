import { expect, test } from 'vitest';
import { textTable } from '../../src/report/text-table.js';

const columns = [{ title: 'name', maxWidth: 5 }, { title: 'n', align: 'right' }, { title: 'note' }] as const;

test('a table is as wide as its cells, numbers to the right, long text cut', () => {
  const rows = [
    ['a', '10', 'x'],
    ['abcdefg', ' 9', 'two\nlines'],
  ];
  expect(textTable({ columns, rows })).toBe(
    ['name    n  note', '-----  --  ---------', 'a      10  x', 'abcd…   9  two lines'].join('\n'),
  );
});

test('a row may end early', () => {
  expect(
    textTable({ columns, rows: [['a', 'failed']] })
      .split('\n')
      .at(-1),
  ).toBe('a     failed');
});
