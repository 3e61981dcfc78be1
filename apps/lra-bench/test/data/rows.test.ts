import { expect, test } from 'vitest';
import { RowsBuilder, spreadRows } from '../../src/data/rows.js';

test('some of many rows come from all of them', () => {
  const builder = new RowsBuilder();
  // One class after the other, as in the published reviews.
  for (let row = 0; row < 100; row++) builder.add(row < 50 ? 0 : 1, Uint8Array.of(row, row));
  const rows = builder.build();
  const few = spreadRows(rows, 7);
  const taken = Array.from({ length: few.length }, (_, row) => few.document(row)[0]);
  expect(taken).toEqual([0, 14, 28, 42, 57, 71, 85]);
  expect([...few.labels]).toEqual([0, 0, 0, 0, 1, 1, 1]);
  expect(spreadRows(rows, 100)).toBe(rows);
  expect(spreadRows(rows, 1000)).toBe(rows);
});
