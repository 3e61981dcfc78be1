import { expect, test } from 'vitest';
import { median } from '../../src/index.js';

test.each<[readonly number[], number]>([
  [[30, 4, 9], 9],
  [[10, 9], 10],
  [[7], 7],
  [[], 0],
])('of %j', (values, expected) => {
  const before = [...values];
  expect(median(values)).toBe(expected);
  expect(values).toEqual(before);
});
