import { add, mul, sum, type Tensor, valueAndGrad } from '@topk-attention/core';
import type { ParameterTree } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { piecesOf } from '../src/pieces.js';
import { backend } from './support/goldens.js';
import { randomTensor } from './support/random.js';

const x = randomTensor(backend, 1, 2, 7, 3);

test.each([
  [7, [7]],
  [9, [7]],
  [3, [3, 3, 1]],
  [1, [1, 1, 1, 1, 1, 1, 1]],
])('of %i rows: all of them once, in order', async (size, extents) => {
  const pieces = piecesOf(x, 1, size);
  expect(pieces.map(({ shape }) => shape[1])).toEqual(extents);
  const numbers = await x.data();
  let start = 0;
  for (const piece of pieces) {
    const extent = piece.shape[1] as number;
    const expected = [0, 1].flatMap((at) => {
      const from = 3 * (7 * at + start);
      return Array.from(numbers.subarray(from, from + 3 * extent), Number);
    });
    expect(Array.from(await piece.data(), Number)).toEqual(expected);
    start += extent;
  }
});

test('the gradient of some of them is 0 elsewhere', async () => {
  const { gradients } = valueAndGrad(({ of }: ParameterTree) => {
    const [first, , last] = piecesOf(of as Tensor, 1, 3) as [Tensor, Tensor, Tensor];
    return add(sum(mul(first, first)), sum(last));
  })({ of: x });
  const slopes = Float64Array.from(await x.data(), (value, at) => {
    const row = Math.floor(at / 3) % 7;
    return row < 3 ? 2 * Number(value) : row < 6 ? 0 : 1;
  });
  const made = await (gradients.of as Tensor).data();
  for (const [at, slope] of slopes.entries()) expect(made[at]).toBeCloseTo(slope, 12);
});
