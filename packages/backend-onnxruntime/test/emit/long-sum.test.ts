import { fill, matmul, mean, reshape, type Shape, sum, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '../../src/index.js';

let backend: OnnxRuntimeBackend;
const oracle = createReferenceBackend();

beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const term = Math.fround(0.1);

/** The largest relative difference from a number. */
async function error(x: Tensor, expected: number): Promise<number> {
  const values = await x.data();
  x.dispose();
  return Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value / expected - 1)), 0);
}

describe('equal terms add up to their sum within 1e-5, however many', () => {
  const terms = (shape: Shape): Tensor => fill(backend, 0.1, shape);
  for (const count of [2049, 4096, 65_537, 1_000_000, 1_000_003]) {
    test(`${count} terms`, async () => {
      const total = count * term;
      expect(await error(mean(terms([count])), term)).toBeLessThan(1e-5);
      expect(await error(sum(terms([2, count]), { axes: [1] }), total)).toBeLessThan(1e-5);
      expect(await error(sum(terms([count, 3]), { axes: [0] }), total)).toBeLessThan(1e-5);
      expect(await error(sum(terms([2, count, 2]), { axes: [0, 1] }), 2 * total)).toBeLessThan(1e-5);
      const row = terms([1, count]);
      const column = reshape(row, [count, 1]);
      expect(await error(matmul(row, column), term * total)).toBeLessThan(1e-5);
      expect(await error(matmul(terms([2, count]), column), term * total)).toBeLessThan(1e-5);
      expect(await error(matmul(row, terms([2, count]), { transposeB: true }), term * total)).toBeLessThan(
        1e-5,
      );
      expect(await error(matmul(column, terms([count, 2]), { transposeA: true }), term * total)).toBeLessThan(
        1e-5,
      );
    });
  }

  test('10 million terms', async () => {
    const column = terms([10_000_000, 1]);
    expect(await error(sum(column, { axes: [0] }), 1e7 * term)).toBeLessThan(1e-5);
    expect(await error(mean(column), term)).toBeLessThan(1e-5);
  });
});

describe('sums in stages add each term once', () => {
  /** Small whole numbers: every order gives the same sum exactly. */
  const numbers = (size: number): Float32Array =>
    Float32Array.from({ length: size }, (_, at) => ((at * 7919) % 17) - 8);
  const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];

  const sums: readonly (readonly [Shape, readonly number[]])[] = [
    [[3, 2053], [1]],
    [[2053, 3], [0]],
    [[2, 521, 3], [1]],
    [
      [523, 2, 3],
      [0, 2],
    ],
    [
      [60, 2, 60],
      [0, 2],
    ],
    [
      [3, 1, 700, 2],
      [1, 2],
    ],
    [
      [5, 7, 11, 13],
      [0, 1, 2, 3],
    ],
    [[1031], [0]],
  ];
  for (const [shape, axes] of sums) {
    test(`[${shape}] over [${axes}]`, async () => {
      const data = numbers(shape.reduce((size, extent) => size * extent, 1));
      const got = sum(tensor(backend, data, shape), { axes, keepDims: true });
      const expected = sum(tensor(oracle, data, shape), { axes, keepDims: true });
      expect(got.shape).toEqual(expected.shape);
      expect(await values(got)).toEqual(await values(expected));
    });
  }

  const products: readonly (readonly [Shape, Shape, boolean, boolean])[] = [
    [[1, 2053], [2053, 3], false, false],
    [[2, 3, 2053], [2, 2053, 1], false, false],
    [[2, 2048 * 3, 1], [2, 2048 * 3, 4], true, false],
    [[4, 2053], [1, 2053], false, true],
    [[2053, 1], [3, 2, 2053], true, true],
    [[3, 1, 2053], [2053, 2], false, false],
    [[2, 65_537], [65_537, 2], false, false],
  ];
  for (const [a, b, transposeA, transposeB] of products) {
    test(`product of [${a}]${transposeA ? ' transposed' : ''} and [${b}]${transposeB ? ' transposed' : ''}`, async () => {
      const make = (on: typeof backend | typeof oracle, shape: Shape): Tensor =>
        tensor(on, numbers(shape.reduce((size, extent) => size * extent, 1)), shape);
      const options = { transposeA, transposeB };
      const got = matmul(make(backend, a), make(backend, b), options);
      const expected = matmul(make(oracle, a), make(oracle, b), options);
      expect(got.shape).toEqual(expected.shape);
      expect(await values(got)).toEqual(await values(expected));
    });
  }

  test('an infinity or NaN among many terms is not lost', async () => {
    const data = numbers(5000);
    data[4321] = Number.POSITIVE_INFINITY;
    expect(await values(sum(tensor(backend, data)))).toEqual([Number.POSITIVE_INFINITY]);
    data[1234] = Number.NaN;
    expect(await values(sum(tensor(backend, data)))).toEqual([Number.NaN]);
  });
});
