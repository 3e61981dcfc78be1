import { concat, matmul, mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
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

describe.each([
  ['f32', createReferenceBackend()],
  ['f64', backend],
] as const)('in %s', (_, own) => {
  const identity = (factor: number): Tensor => tensor(own, Float64Array.of(factor, 0, 0, factor), [1, 2, 2]);

  test('of zeros it is zeros, beside others too, and so is its gradient', async () => {
    const { value, gradients } = valueAndGrad((of: Tensor) => sum(newtonInverse(of)))(
      concat([identity(0), identity(4)], 0),
    );
    expect((await value.data())[0]).toBeCloseTo(0.5, 6);
    const made = await gradients.data();
    for (const [at, slope] of made.entries()) expect(slope).toBeCloseTo(at < 4 ? 0 : -1 / 16, 6);
    expect(Array.from(await newtonInverse(identity(0)).data())).toEqual([0, 0, 0, 0]);
  });

  test.each([1e-30, 1e-25, 1e25, 1e30])(
    'of small and large matrices it is the inverse: %d',
    async (factor) => {
      const made = await newtonInverse(identity(factor)).data();
      expect((made[0] as number) * factor).toBeCloseTo(1, 6);
      expect((made[1] as number) * factor).toBeCloseTo(0, 6);
    },
  );

  test('eigenvalues may be negative', async () => {
    const matrix = tensor(own, Float64Array.of(1, 2, 2, 1), [2, 2]);
    await requireInverse(matrix, newtonInverse(matrix), { tolerance: 1e-5 });
  });

  test('of a matrix that is not symmetric it may be none, which the check tells', async () => {
    const matrix = tensor(own, Float64Array.of(0, 1, -1, 0), [2, 2]);
    await expect(requireInverse(matrix, newtonInverse(matrix))).rejects.toMatchObject({
      code: 'SINGULAR_MATRIX',
    });
  });
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
