import { halfToNumber } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { toFloat32 } from '../../src/index.js';

test('every half becomes the f32 of the same value', () => {
  const halves = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);
  const floats = toFloat32('F16', halves);
  for (let bits = 0; bits < halves.length; bits++) {
    const expected = halfToNumber(bits);
    if (!Object.is(floats[bits], expected)) {
      expect.fail(`half ${bits.toString(16)}: got ${floats[bits]}, expected ${expected}`);
    }
  }
});

test('bf16 is the upper half of an f32', () => {
  const values = [
    0,
    1,
    -1,
    0.5,
    3.140625,
    2 ** -126,
    2 ** 127,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ];
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  const wide = toFloat32(
    'BF16',
    Uint16Array.from(bits, (one) => one >>> 16),
  );
  expect([...wide]).toEqual(values);
  expect(toFloat32('BF16', Uint16Array.of(0x7fc0))[0]).toBeNaN();
  expect(toFloat32('BF16', Uint16Array.of(0x8000))[0]).toBe(-0);
});

test('f32 is handed through and f64 rounded', () => {
  const floats = Float32Array.of(1, 2);
  expect(toFloat32('F32', floats)).toBe(floats);
  expect(toFloat32('F64', Float64Array.of(0.1))).toEqual(Float32Array.of(0.1));
});

test('integers are refused', () => {
  expect(() => toFloat32('I32', Int32Array.of(1))).toThrow(
    expect.objectContaining({ code: 'DTYPE_MISMATCH' }),
  );
});
