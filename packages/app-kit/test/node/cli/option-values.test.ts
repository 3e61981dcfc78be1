import { InvalidArgumentError } from '@commander-js/extra-typings';
import { expect, test } from 'vitest';
import {
  byteCount,
  layerCount,
  nonBlank,
  positiveNumber,
  seedNumber,
  wholeNumber,
} from '../../../src/node/cli/option-values.js';

test.each([
  [wholeNumber, '12', 12],
  [seedNumber, '0', 0],
  [layerCount, '1024', 1024],
  [nonBlank, ' a b ', 'a b'],
  [byteCount, '67108864', 2 ** 26],
  [byteCount, '64MiB', 2 ** 26],
  [byteCount, '1.5 GB', 1.5e9],
])('%o takes %s', (parse, text, value) => expect(parse(text)).toBe(value));

test.each([
  [wholeNumber, '0'],
  [seedNumber, '-1'],
  [wholeNumber, '-3'],
  [wholeNumber, '1.5'],
  [wholeNumber, '99999999999999999'],
  [layerCount, '1025'],
  [layerCount, '1.5'],
  [nonBlank, ' \t'],
  [byteCount, '3 apples'],
  [byteCount, '0'],
  [byteCount, 'MiB'],
])('%o refuses %j', (parse, text) => expect(() => parse(text)).toThrow(InvalidArgumentError));

test.each(['0.01', '5e-4', '3'])('%s is a number above 0', (text) => {
  expect(positiveNumber(text)).toBe(Number(text));
});

test.each(['0', '-1', '', ' ', 'x', 'Infinity'])("'%s' is none", (text) => {
  expect(() => positiveNumber(text)).toThrow('above 0');
});
