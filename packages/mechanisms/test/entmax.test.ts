import { mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { entmax15, entmaxAttention } from '../src/index.js';
import { backend, expectNumbers, goldenOutput, goldenParameter } from './support/goldens.js';
import { describeLaws, expectSlope } from './support/laws.js';
import { randomNumbers, randomTensor } from './support/random.js';

/** By sorting, and the closed form of the threshold of each support. */
function bySorting(scores: readonly number[]): number[] {
  const halves = scores.map((score) => score / 2);
  const sorted = [...halves].sort((a, b) => b - a);
  let threshold = Number.NaN;
  for (let size = 1; size <= sorted.length; size++) {
    const support = sorted.slice(0, size);
    const mean = support.reduce((all, one) => all + one, 0) / size;
    const spread = support.reduce((all, one) => all + (one - mean) ** 2, 0);
    if (spread > 1) break;
    const own = mean - Math.sqrt((1 - spread) / size);
    if (own <= (sorted[size - 1] as number)) threshold = own;
  }
  return halves.map((half) => Math.max(half - threshold, 0) ** 2);
}

test('is what bisection finds', () =>
  expectNumbers(entmax15(goldenParameter('scores')), goldenOutput('entmax'), 12));

test.each([
  [1, 1],
  [2, 5],
  [5, 0.01],
  [40, 1],
  [40, 30],
  [1000, 1],
  [1000, 0.001],
  [1000, 1e4],
])('is what sorting finds: %i scores of a range of %f', async (count, range) => {
  const next = randomNumbers(count);
  const scores = Array.from({ length: count }, () => range * next());
  await expectNumbers(
    entmax15(tensor(backend, Float64Array.from(scores), [1, count])),
    bySorting(scores),
    11,
  );
});

test('two far apart groups, whose support the first step does not find', async () => {
  const scores = [0, ...Array.from({ length: 500 }, (_, at) => -1.8 - at * 1e-4)];
  await expectNumbers(entmax15(tensor(backend, Float64Array.from(scores), [1, 501])), bySorting(scores), 11);
});

test('rows sum to 1 in f32 too, hidden entries are 0, and so is a row of them', async () => {
  const hidden = Number.NEGATIVE_INFINITY;
  const x = tensor(
    createReferenceBackend(),
    [3, hidden, 2.9, 1e4, 1e4, hidden, hidden, hidden, hidden],
    [3, 3],
  );
  const numbers = Array.from(await entmax15(x).data());
  expect(numbers[1]).toBe(0);
  expect((numbers[0] as number) + (numbers[2] as number)).toBeCloseTo(1, 6);
  for (const at of [3, 4]) expect(numbers[at]).toBeCloseTo(0.5, 6);
  expect(numbers.slice(5)).toEqual([0, 0, 0, 0]);
});

test('the gradient is exact, in and out of the support', async () => {
  const parameters = { scores: mul(randomTensor(backend, 3, 4, 9), 3) };
  const weights = randomTensor(backend, 4, 4, 9);
  const loss = ({ scores }: { readonly [name: string]: Tensor }): Tensor =>
    sum(mul(entmax15(scores as Tensor), weights));
  const { gradients } = valueAndGrad(loss)(parameters);
  await expectSlope(loss, parameters, gradients, 'scores', 8);
  const [p, g] = await Promise.all([entmax15(parameters.scores).data(), (gradients.scores as Tensor).data()]);
  let zeros = 0;
  for (const [at, one] of p.entries()) {
    if (one !== 0) continue;
    zeros++;
    expect(Math.abs(g[at] as number)).toBe(0);
  }
  expect(zeros).toBeGreaterThan(5);
});

describe('attention', () => {
  describeLaws('entmax', entmaxAttention(), { digits: 5 });
});
