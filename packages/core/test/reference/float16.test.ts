import { expect, test } from 'vitest';
import { halfToNumber, numberToHalf } from '../../src/reference/float16.js';

test('every half survives the way there and back', () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const value = halfToNumber(bits);
    if (Number.isNaN(value)) expect(numberToHalf(value)).toBe(0x7e00);
    else expect(numberToHalf(value)).toBe(bits);
  }
});

test('halfway cases go to the even half, everything else to the nearest', () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const low = halfToNumber(bits);
    const high = halfToNumber(bits + 1);
    const middle = (low + high) / 2;
    expect(numberToHalf(middle)).toBe(bits % 2 === 0 ? bits : bits + 1);
    expect(numberToHalf(middle - (high - low) * 2 ** -20)).toBe(bits);
    expect(numberToHalf(middle + (high - low) * 2 ** -20)).toBe(bits + 1);
  }
});

test('overflow, and known bits', () => {
  expect(numberToHalf(65504)).toBe(0x7bff);
  expect(numberToHalf(65519.99)).toBe(0x7bff);
  expect(numberToHalf(65520)).toBe(0x7c00);
  expect(numberToHalf(Number.NEGATIVE_INFINITY)).toBe(0xfc00);
  expect(numberToHalf(-0)).toBe(0x8000);
  expect(numberToHalf(1 / 3)).toBe(0x3555);
});
