import {
  cast,
  grad,
  lt,
  mul,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  where,
  zeros,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ParameterTree } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { type EntmaxOptions, entmax15, entmaxAttention } from '../src/index.js';
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

describe('visible', () => {
  const shapes = { all: [3, 4, 6], keys: [6], queries: [1, 4, 1], groups: [3, 1, 1] };

  test.each(Object.entries(shapes))('hides what -inf hides: %s', async (_, shape) => {
    const scores = mul(randomTensor(backend, 5, 3, 4, 6), 2);
    const visible = lt(-0.2, randomTensor(backend, 6, ...shape));
    const [made, wanted] = [
      entmax15(scores, visible),
      entmax15(where(visible, scores, Number.NEGATIVE_INFINITY)),
    ];
    expect(await made.data()).toEqual(await wanted.data());
    // A gradient of what is hidden is 0.
    const loss = (of: Tensor): Tensor => sum(mul(of, randomTensor(backend, 7, 3, 4, 6)));
    const gradients = await Promise.all(
      [
        grad(({ z }: { z: Tensor }) => loss(entmax15(z, visible)))({ z: scores }),
        grad(({ z }: { z: Tensor }) => loss(entmax15(where(visible, z, Number.NEGATIVE_INFINITY))))({
          z: scores,
        }),
      ].map(async ({ z }) => Array.from(await z.data(), (one) => Math.fround(one) + 0)),
    );
    expect(gradients[0]).toEqual(gradients[1]);
  });

  test('a hidden NaN stays hidden, another one spoils its row', async () => {
    const scores = tensor(backend, [Number.NaN, 1, 2, Number.NaN, 1, 2], [2, 3]);
    const visible = tensor(backend, [false, true, true, true, true, true], [2, 3]);
    const numbers = Array.from(await entmax15(scores, visible).data());
    await expectNumbers(entmax15(tensor(backend, [1, 2])), numbers.slice(1, 3), 12);
    expect(numbers[0]).toBe(0);
    expect(numbers.slice(3)).toEqual([Number.NaN, Number.NaN, Number.NaN]);
  });
});

test('gradients of gradients are those of the formula where no weight is 0', async () => {
  const parameters = { scores: mul(randomTensor(backend, 8, 3, 5), 0.4) };
  const weights = randomTensor(backend, 9, 3, 5);
  const slope = ({ scores }: ParameterTree): Tensor => {
    const { z } = grad(({ z }: { z: Tensor }) => sum(mul(entmax15(z), weights)))({ z: scores as Tensor });
    return sum(mul(z, mul(z, weights)));
  };
  await expectSlope(slope, parameters, grad(slope)(parameters), 'scores', 7);
});

test('halves stay halves, computed in f32', async () => {
  const scores = tensor(createReferenceBackend(), [1, 2, 3.5], [1, 3]);
  const made = entmax15(cast(scores, 'f16'));
  expect(made.dtype).toBe('f16');
  expect(await made.data()).toEqual(await cast(entmax15(scores), 'f16').data());
});

test.each<readonly [what: string, call: () => Tensor, code: string]>([
  ['whole numbers', () => entmax15(tensor(backend, Int32Array.of(1, 2))), 'DTYPE_MISMATCH'],
  ['visible numbers', () => entmax15(zeros(backend, [2]), zeros(backend, [2])), 'DTYPE_MISMATCH'],
  ['a number', () => entmax15(tensor(backend, [1], [])), 'SHAPE_MISMATCH'],
  ['another length', () => entmax15(zeros(backend, [3]), zeros(backend, [2], 'bool')), 'SHAPE_MISMATCH'],
  ['more axes', () => entmax15(zeros(backend, [3]), zeros(backend, [2, 3], 'bool')), 'SHAPE_MISMATCH'],
  ['axes of 1', () => entmax15(zeros(backend, [3]), zeros(backend, [1, 1], 'bool')), 'SHAPE_MISMATCH'],
  [
    'an axis of 1',
    () => entmax15(zeros(backend, [3, 3]), zeros(backend, [3, 3, 1], 'bool')),
    'SHAPE_MISMATCH',
  ],
])('%s: refused', (_, call, code) => {
  expect(call).toThrow(expect.objectContaining({ code }));
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

test('another alpha is refused', () => {
  for (const options of [{ alpha: 2 }, 2]) {
    const build = (): unknown => entmaxAttention(options as EntmaxOptions);
    expect(build).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  }
});
