import { expect, test } from 'vitest';
import { isObject, kindOf } from '../src/json-value.js';

test.each([
  [undefined, false, 'nothing'],
  [null, false, 'null'],
  [[], false, 'a list'],
  [{}, true, 'an object'],
  [3, false, 'a number'],
])('%o', (value, isOne, kind) => {
  expect(isObject(value)).toBe(isOne);
  expect(kindOf(value)).toBe(kind);
});
