import type { Shape } from '@topk-attention/core';
import type { EntmaxRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import type { WebGpuBackend } from '../../src/index.js';
import { entmaxes } from '../../src/primitives/entmax.js';
import { PLAIN } from '../support/recording.js';
import { openTestBackend } from '../support/software-gpu.js';
import { randomNumbers } from '../support/tensor.js';

const software = softwareGpuAvailability();
const HIDDEN = Number.NEGATIVE_INFINITY;

/** By bisection of the sum of the weights, in f64. */
function byBisection(scores: readonly number[]): number[] {
  const largest = scores.reduce((one, other) => Math.max(one, other), HIDDEN);
  if (largest === HIDDEN) return scores.map(() => 0);
  const below = scores.map((score) => score / 2 - largest / 2);
  let [low, high] = [-1, 0];
  for (let step = 0; step < 45; step++) {
    const middle = (low + high) / 2;
    let total = 0;
    for (const one of below) if (one > middle) total += (one - middle) ** 2;
    if (total >= 1) low = middle;
    else high = middle;
  }
  return below.map((one) => Math.max(one - low, 0) ** 2);
}

async function forward(
  backend: WebGpuBackend,
  scores: readonly number[],
  shape: Shape,
  visible?: { readonly data: readonly boolean[]; readonly shape: Shape },
): Promise<Float32Array> {
  const request: EntmaxRequest = { shape, ...(visible && { visible: visible.shape }) };
  const prepared = backend.fused?.entmax15?.prepare(request, backend.capabilities.limits);
  if (prepared === undefined || 'refusals' in prepared) throw new Error(`refused: ${prepared?.refusals}`);
  const inputs = {
    scores: backend.upload(Float32Array.from(scores), shape, 'f32'),
    ...(visible && { visible: backend.upload(Uint8Array.from(visible.data, Number), visible.shape, 'bool') }),
  };
  const { weights } = prepared.run(inputs, 1);
  const numbers = await backend.read(weights);
  for (const one of [...Object.values(inputs), weights]) backend.release(one);
  return numbers as Float32Array;
}

async function gradient(
  backend: WebGpuBackend,
  weights: ArrayLike<number>,
  given: readonly number[],
  shape: Shape,
): Promise<Float32Array> {
  const prepared = backend.fused?.entmax15Gradient?.prepare({ shape }, backend.capabilities.limits);
  if (prepared === undefined || 'refusals' in prepared) throw new Error(`refused: ${prepared?.refusals}`);
  const inputs = {
    weights: backend.upload(Float32Array.from(weights), shape, 'f32'),
    dWeights: backend.upload(Float32Array.from(given), shape, 'f32'),
  };
  const { scores } = prepared.run(inputs, 1);
  const numbers = await backend.read(scores);
  for (const one of [...Object.values(inputs), scores]) backend.release(one);
  return numbers as Float32Array;
}

function farthest(made: ArrayLike<number>, wanted: readonly number[]): number {
  return wanted.reduce((most, one, at) => Math.max(most, Math.abs((made[at] as number) - one)), 0);
}

const filled = (count: number, of: (at: number) => number): number[] =>
  Array.from({ length: count }, (_, at) => Math.fround(of(at)));

/** Rows of n scores, hard ones among them. */
function rowsOf(count: number): Readonly<Record<string, readonly number[]>> {
  const next = randomNumbers(count);
  return {
    'within 1': filled(count, () => next()),
    'within 30': filled(count, () => 30 * next()),
    'normal-like': filled(count, () => 2 * (next() + next() + next() + next() - 2)),
    'tiny differences': filled(count, () => 1 + 1e-6 * next()),
    'tiny values': filled(count, () => 1e-38 * next()),
    'huge values': filled(count, () => 1e30 * (next() - 0.5)),
    'all equal': filled(count, () => -7.25),
    ties: filled(count, (at) => [0, 0.5, -3][at % 3] as number),
    'one large': filled(count, (at) => (at === count - 1 ? 1e4 : next())),
    'one that just lets the others in': filled(count, (at) => (at === 0 ? 1.98 : 0)),
    'some hidden': filled(count, (at) => (at % 3 === 1 ? HIDDEN : next())),
    'one visible': filled(count, (at) => (at === count >> 1 ? 3 : HIDDEN)),
    'all hidden': filled(count, () => HIDDEN),
    'slow to solve': filled(
      count,
      (at) => -2 * ([0, 0.275, 0.463, 0.755][Math.ceil(4 * (at / count) ** 0.3)] ?? 1),
    ),
  };
}

for (const count of [1, 2, 31, 33, 1000, 8192, 9000, 9001]) {
  optional(`weights of rows of ${count} entries`, software, async () => {
    const backend = await openTestBackend();
    const rows = rowsOf(count);
    const all = Object.values(rows);
    const made = await forward(backend, all.flat(), [all.length, count]);
    for (const [at, [name, row]] of Object.entries(rows).entries()) {
      const own = made.slice(at * count, (at + 1) * count);
      expect(farthest(own, byBisection(row)), name).toBeLessThan(4e-6);
      expect(Number.isNaN(own[0]), name).toBe(false);
      const total = own.reduce((sum, one) => sum + one, 0);
      expect(total, name).toBeCloseTo(name === 'all hidden' ? 0 : 1, 5);
    }
    const again = await forward(backend, all.flat(), [all.length, count]);
    expect(new Uint32Array(again.buffer)).toEqual(new Uint32Array(made.buffer));
  });

  optional(`gradients of rows of ${count} entries`, software, async () => {
    const backend = await openTestBackend();
    const next = randomNumbers(count + 1);
    const rows = ['within 1', 'within 30', 'some hidden', 'all hidden', 'all equal'].map(
      (name) => rowsOf(count)[name] as readonly number[],
    );
    const shape = [rows.length, count];
    const given = filled(rows.length * count, () => 2 * next() - 1);
    const weights = rows.flatMap(byBisection);
    const made = await gradient(backend, weights, given, shape);
    for (const [at, row] of rows.entries()) {
      const own = given.slice(at * count, (at + 1) * count);
      const lossOf = (scores: readonly number[]): number =>
        byBisection(scores).reduce((sum, one, place) => sum + one * (own[place] as number), 0);
      const places = count < 40 ? row.keys() : [0, 5, count >> 1, count - 1];
      for (const place of places) {
        const moved = (by: number): number[] => row.map((one, j) => (j === place ? one + by : one));
        const slope = (lossOf(moved(1e-6)) - lossOf(moved(-1e-6))) / 2e-6;
        // No derivative where an entry just leaves the support.
        expect(
          Math.abs((made[at * count + place] as number) - slope),
          `row ${at}, entry ${place}`,
        ).toBeLessThan(3e-5);
      }
    }
    expect(Array.from(made.slice(3 * count, 4 * count)).every((one) => one === 0)).toBe(true);
    const again = await gradient(backend, weights, given, shape);
    expect(new Uint32Array(again.buffer)).toEqual(new Uint32Array(made.buffer));
  });
}

optional('NaN and +inf make their row NaN, and no other', software, async () => {
  const backend = await openTestBackend();
  for (const count of [3, 40, 9000]) {
    const plain = filled(count, (at) => Math.sin(at));
    const bad = [Number.NaN, Number.POSITIVE_INFINITY].map((value) =>
      plain.map((one, at) => (at === count - 1 ? value : one)),
    );
    const rows = [plain, bad[0] as number[], plain, bad[1] as number[], plain];
    const made = await forward(backend, rows.flat(), [5, count]);
    const ones = filled(5 * count, () => 1);
    const slopes = await gradient(backend, made, ones, [5, count]);
    for (const [at] of rows.entries()) {
      const own = Array.from(made.slice(at * count, (at + 1) * count));
      const isBad = at % 2 === 1;
      expect(
        own.every((one) => Number.isNaN(one) === isBad),
        `row ${at} of ${count}`,
      ).toBe(true);
      const along = Array.from(slopes.slice(at * count, (at + 1) * count));
      expect(
        along.every((one) => Number.isNaN(one) === isBad),
        `gradient of row ${at} of ${count}`,
      ).toBe(true);
    }
  }
});

const shape = [2, 3, 5, 36];
const masks: Readonly<Record<string, Shape>> = {
  pairs: shape,
  keys: [2, 1, 1, 36],
  'keys of all': [1, 1, 1, 36],
  queries: [2, 1, 5, 1],
  'queries and keys': [1, 1, 5, 36],
  heads: [1, 3, 1, 36],
  'heads alone': [1, 3, 1, 1],
  nothing: [1, 1, 1, 1],
};

for (const width of [36, 35, 8200, 8201]) {
  optional(`what a mask hides is as -inf: rows of ${width}`, software, async () => {
    const backend = await openTestBackend();
    const next = randomNumbers(width);
    const scores = filled(30 * width, () => 3 * next());
    for (const [name, given] of Object.entries(masks)) {
      // Rows that are read again take their masks in the same way.
      if (width > 8000 && !['pairs', 'heads alone'].includes(name)) continue;
      const own = given.map((extent) => (extent === 36 ? width : extent));
      const data = filled(
        own.reduce((size, extent) => size * extent, 1),
        () => next(),
      ).map((one) => one > 0.4);
      const made = await forward(backend, scores, [2, 3, 5, width], { data, shape: own });
      // As NumPy broadcasts, coordinate by coordinate.
      const expected = scores.map((score, at) => {
        const places = [
          Math.floor(at / (15 * width)),
          Math.floor(at / (5 * width)) % 3,
          Math.floor(at / width) % 5,
        ];
        const place = [...places, at % width].reduce(
          (sum, one, axis) => sum * (own[axis] as number) + (own[axis] === 1 ? 0 : one),
          0,
        );
        return data[place] === true ? score : HIDDEN;
      });
      const wanted = Array.from({ length: 30 }, (_, row) =>
        byBisection(expected.slice(row * width, (row + 1) * width)),
      ).flat();
      expect(farthest(made, wanted), name).toBeLessThan(4e-6);
    }
  });
}

test('what it does not take, it refuses', () => {
  const operation = entmaxes({} as never, PLAIN, () => {
    throw new Error('nothing is made');
  });
  const refusalsOf = (request: EntmaxRequest): readonly string[] => {
    const prepared = operation.prepare(request, {} as never);
    return 'refusals' in prepared ? prepared.refusals : [];
  };
  expect(refusalsOf({ shape: [4, 0] })).toEqual(['no scores']);
  expect(refusalsOf({ shape: [2 ** 15, 2 ** 14] })).toEqual([expect.stringContaining('exceeds a binding')]);
  expect(refusalsOf({ shape: [2, 2, 2, 2, 2, 8], visible: [2, 1, 2, 1, 2, 8] })).toEqual([
    expect.stringContaining('axes'),
  ]);
  expect(refusalsOf({ shape: [2, 2, 2, 2, 8], visible: [2, 2, 1, 2, 8] })).toEqual([]);
});
