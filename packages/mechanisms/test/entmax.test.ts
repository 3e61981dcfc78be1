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

/** By bisection of the sum of the weights. */
function byBisection(halves: readonly number[]): number[] {
  const largest = halves.reduce((one, other) => Math.max(one, other), Number.NEGATIVE_INFINITY);
  let [low, high] = [largest - 1, largest];
  for (let step = 0; step < 70; step++) {
    const middle = (low + high) / 2;
    let total = 0;
    for (const half of halves) if (half > middle) total += (half - middle) ** 2;
    if (total >= 1) low = middle;
    else high = middle;
  }
  return halves.map((half) => Math.max(half - low, 0) ** 2);
}

/** Groups of equal entries. */
const ties = (...groups: readonly (readonly [half: number, count: number])[]): number[] =>
  groups.flatMap(([half, count]) => new Array<number>(count).fill(half));

describe('few steps are enough for the hardest rows', () => {
  const many = 16_384;
  const filled = (of: (at: number) => number): number[] => Array.from({ length: many }, (_, at) => of(at));
  const normal = (deviation: number): number[] => {
    const next = randomNumbers(3);
    return filled(
      () => deviation * Math.sqrt(-2 * Math.log((next() + 1) / 2 + 1e-9)) * Math.cos(Math.PI * next()),
    );
  };
  const halves: Readonly<Record<string, readonly number[]>> = {
    'all equal': ties([0, many]),
    'one huge': ties([1e4, 1], [0, many - 1]),
    'one that just leaves the others out': ties([1, 1], [1e-9, many - 1]),
    'one that just lets the others in': ties([0.99, 1], [0, many - 1]),
    'two groups of ties': ties([0.7, 400], [0, many - 400]),
    'evenly spread over 0.1': filled((at) => (0.1 * at) / many),
    'evenly spread over 30': filled((at) => (30 * at) / many),
    'normal, 0.1': normal(0.1),
    'normal, 0.5': normal(0.5),
    'normal, 5': normal(5),
    'approaching the largest': filled((at) => -(0.9995 ** at)),
    'leaving the largest': filled((at) => 0.9995 ** at),
    'leaving the largest at once': filled((at) => 0.5 ** at),
    'a root': filled((at) => -((at / many) ** 0.25)),
    // What a search for the slowest rows found, for 16,384, 1,024 and 127 entries.
    'found, of three groups': ties([-0.754733, 9017], [-0.46339, 5435], [-0.275012, 1919], [0, 13]),
    'found, of six groups': ties(
      ...([
        [-0.725521, 8133],
        [-0.725316, 20],
        [-0.405612, 5591],
        [-0.285724, 257],
      ] as const),
      ...([
        [-0.243789, 2364],
        [-0.023382, 11],
        [0, 8],
      ] as const),
    ),
    'found, of 1,024': ties([-0.874101, 41], [-0.736289, 981], [-0.080787, 1], [0, 1]),
    'found, of 127': ties([-0.788343, 11], [-0.552627, 113], [-7.7e-5, 1], [0, 2]),
  };

  /** The sum of the differences of the weights of a row. */
  const differenceOf = async (weights: Tensor, row: readonly number[]): Promise<number> => {
    const numbers = await weights.data();
    let total = 0;
    for (const [at, one] of byBisection(row).entries()) total += Math.abs((numbers[at] as number) - one);
    return total;
  };

  test.each(Object.entries(halves))('%s', async (_, row) => {
    const shape = [1, row.length];
    const scores = Float64Array.from(row, (half) => 2 * half);
    expect(await differenceOf(entmax15(tensor(backend, scores, shape)), row)).toBeLessThan(1e-11);
    // Of the numbers that f32 has for the row.
    const single = Float32Array.from(scores);
    const weights = entmax15(tensor(createReferenceBackend(), single, shape));
    const own = Array.from(single, (score) => score / 2);
    expect(await differenceOf(weights, own)).toBeLessThan(3e-6);
  });

  test('rows of random groups of ties', async () => {
    const next = randomNumbers(8);
    const share = (): number => (next() + 1) / 2;
    for (let trial = 0; trial < 200; trial++) {
      const groups = Array.from({ length: 1 + Math.floor(6 * share()) }, () => {
        const count = Math.max(1, Math.floor(2048 ** share() / 2));
        return [-(share() ** (1 + 3 * share())), count] as const;
      });
      const row = ties([0, 1], ...groups);
      const scores = Float64Array.from(row, (half) => 2 * half);
      expect(await differenceOf(entmax15(tensor(backend, scores, [1, row.length])), row)).toBeLessThan(1e-11);
    }
  });
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
