import { matmul, mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { attentionLayer, contextOf, initialize, type ParameterTree } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { byFours } from '../src/by-fours.js';
import { fastmax } from '../src/index.js';
import { countMonomials, linearMonomials, quadraticMonomials } from '../src/monomials.js';
import { backend } from './support/goldens.js';
import { expectClose, expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

describe.each([1, 2, 3, 8])('of %i variables', (width) => {
  const x = mul(randomTensor(backend, 1, 1, 2, 5, width), 2);
  const y = mul(randomTensor(backend, 2, 1, 2, 4, width), 2);
  const count = countMonomials(width);
  const stored = byFours(count);

  test('there are 1 + d + d (d + 1) / 2, each of them once', async () => {
    expect(count).toBe(1 + width + (width * (width + 1)) / 2);
    const made = quadraticMonomials()(x);
    expect(made.shape).toEqual([1, 2, 5, stored]);
    const [numbers, given] = await Promise.all([made.data(), x.data()]);
    for (let row = 0; row < 10; row++) {
      const own = [1, ...Array.from(given.subarray(row * width, (row + 1) * width), Number)];
      const expected: number[] = [];
      for (let a = 0; a <= width; a++) {
        for (let b = a; b <= width; b++) {
          const factor = a === b && a > 0 ? Math.SQRT1_2 : 1;
          expected.push(factor * (own[a] as number) * (own[b] as number));
        }
      }
      for (const [at, number] of expected.entries()) {
        expect(numbers[row * stored + at]).toBeCloseTo(number, 14);
      }
      expect(Array.from(numbers.subarray(row * stored + count, (row + 1) * stored), Number)).toEqual(
        Array.from({ length: stored - count }, () => 0),
      );
    }
  });

  test('their products are the polynomial of the product', async () => {
    const of = quadraticMonomials();
    const scores = await matmul(x, y, { transposeB: true }).data();
    const weights = matmul(of(x), of(y), { transposeB: true });
    const expected = Float64Array.from(scores, (s) => 1 + Number(s) + Number(s) ** 2 / 2);
    await expectClose(weights, tensor(backend, expected, weights.shape), 12);
    const lines = matmul(linearMonomials(x), linearMonomials(y), { transposeB: true });
    await expectClose(
      lines,
      tensor(
        backend,
        Float64Array.from(scores, (s) => 1 + Number(s)),
        lines.shape,
      ),
      12,
    );
  });

  test('their gradient is that of finite differences', async () => {
    const cotangent = randomTensor(backend, 3, 1, 2, 5, stored);
    const of = quadraticMonomials();
    const loss = ({ x: own }: ParameterTree): Tensor => sum(mul(of(own as Tensor), cotangent));
    const { gradients } = valueAndGrad(loss)({ x });
    await expectSlope(loss, { x }, gradients, 'x', 7);
  });
});

test('in f32 each is one rounding of a product', async () => {
  const x = randomTensor(createReferenceBackend(), 4, 1, 1, 3, 6);
  const [numbers, given] = await Promise.all([quadraticMonomials()(x).data(), x.data()]);
  const count = byFours(countMonomials(6));
  for (let row = 0; row < 3; row++) {
    const [a, b] = [given[row * 6] as number, given[row * 6 + 1] as number];
    // 1, six variables, the square of the first one, and then its product with the second.
    expect(numbers[row * count + 8]).toBe(Math.fround(a * b));
  }
});

test('one function serves heads of several widths, and a NaN stays in its row', async () => {
  const of = quadraticMonomials();
  for (const width of [2, 3, 2]) {
    const x = tensor(
      backend,
      Float64Array.from({ length: 2 * width }, (_, at) => (at === 0 ? Number.NaN : at)),
      [...[1, 1, 2], width],
    );
    const numbers = Array.from(await of(x).data(), Number);
    const count = byFours(countMonomials(width));
    expect(numbers).toHaveLength(2 * count);
    expect(numbers.slice(0, count).some(Number.isNaN)).toBe(true);
    expect(numbers.slice(count).some(Number.isNaN)).toBe(false);
  }
});

test('a state for decoding has a row of sums per monomial', () => {
  const layer = attentionLayer({ width: 8, heads: 2, causal: true, mechanism: fastmax() });
  const { state } = layer.step(contextOf(initialize(backend, layer, 1)), randomTensor(backend, 5, 1, 3, 8));
  expect(state.tensors.sums?.shape).toEqual([1, 2, byFours(countMonomials(4)), 4]);
});
