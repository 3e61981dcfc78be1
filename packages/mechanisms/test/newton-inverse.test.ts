import { matmul, mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { newtonInverse, requireInverse } from '../src/index.js';
import { backend, expectNumbers } from './support/goldens.js';
import { expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

const matrixOf = (...rows: number[][]): Tensor =>
  tensor(backend, Float64Array.from(rows.flat()), [rows.length, rows.length]);

test('is the inverse', async () => {
  const matrix = matrixOf([2, 1, 0], [1, 3, 0.5], [0, 0.5, 1]);
  const inverse = newtonInverse(matrix);
  await expectNumbers(matmul(inverse, matrix), [1, 0, 0, 0, 1, 0, 0, 0, 1], 12);
  await requireInverse(matrix, inverse);
});

test('of equal row sums too, whose eigenvector a factor of 2 would lose', async () => {
  const inverse = newtonInverse(matrixOf([1, 0.5, 0.25], [0.25, 1, 0.5], [0.5, 0.25, 1]));
  // A circulant of row sums 1.75: so are the inverse's, 1 / 1.75.
  await expectNumbers(sum(inverse, { axes: [1] }), [1 / 1.75, 1 / 1.75, 1 / 1.75], 12);
  await expectNumbers(newtonInverse(matrixOf([4])), [0.25], 14);
});

test('of a singular matrix it is the pseudo-inverse', async () => {
  await expectNumbers(newtonInverse(matrixOf([1, 1], [1, 1])), [0.25, 0.25, 0.25, 0.25], 12);
});

test('with a ridge it is the inverse of the sum', async () => {
  await expectNumbers(newtonInverse(matrixOf([1, 0], [0, 3]), { ridge: 1 }), [0.5, 0, 0, 0.25], 12);
});

test('its gradient is that of finite differences', async () => {
  const half = randomTensor(backend, 4, 2, 3, 3);
  const weights = randomTensor(backend, 5, 2, 3, 3);
  const parameters = { half };
  const loss = ({ half: of }: { readonly [name: string]: Tensor }): Tensor => {
    const one = of as Tensor;
    const matrix = matmul(one, one, { transposeB: true });
    return sum(mul(newtonInverse(matrix, { ridge: 0.3 }), weights));
  };
  const { gradients } = valueAndGrad(loss)(parameters);
  await expectSlope(loss, parameters, gradients, 'half');
});

describe('what is no inverse', () => {
  test('is an error with the departure, where it is asked for', async () => {
    const matrix = matrixOf([1, 1], [1, 1]);
    await expect(requireInverse(matrix, newtonInverse(matrix))).rejects.toMatchObject({
      code: 'SINGULAR_MATRIX',
      got: '0.5',
    });
    await requireInverse(matrix, newtonInverse(matrix, { ridge: 0.1 }), { ridge: 0.1 });
  });

  test.each([[{ iterations: 0 }], [{ ridge: -1 }]])('%o', (options) => {
    expect(() => newtonInverse(matrixOf([1]), options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });

  test('matrices that are not square', () => {
    expect(() => newtonInverse(tensor(backend, [1, 2], [1, 2]))).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
  });
});
