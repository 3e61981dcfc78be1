import { type Shape, sizeOf } from '@topk-attention/core';
import { type DrawnEntriesRequest, philoxBits } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import type { WebGpuBackend } from '../../src/index.js';
import { drawnEntries } from '../../src/primitives/drawn-entries.js';
import { PLAIN } from '../support/recording.js';
import { openTestBackend } from '../support/software-gpu.js';
import { randomNumbers } from '../support/tensor.js';

const software = softwareGpuAvailability();
const SEED = 2 ** 40 + 12_345_678;

type Draws = Pick<DrawnEntriesRequest, 'shape' | 'firstQuery'>;

interface Mask {
  readonly shape: Shape;
  readonly data: readonly boolean[];
}

type Pair = readonly [positive: readonly number[], negative: readonly number[]];

async function drawn(
  backend: WebGpuBackend,
  weights: readonly number[],
  { shape, firstQuery }: Draws,
  mask?: Mask,
): Promise<Pair> {
  const request = { shape, firstQuery, seed: SEED, ...(mask && { visible: mask.shape }) };
  const prepared = backend.fused?.drawnEntries?.prepare(request, backend.capabilities.limits);
  if (prepared === undefined || 'refusals' in prepared) throw new Error(`refused: ${prepared?.refusals}`);
  const inputs = {
    weights: backend.upload(Float32Array.from(weights), shape, 'f32'),
    ...(mask && { visible: backend.upload(Uint8Array.from(mask.data, Number), mask.shape, 'bool') }),
  };
  const before = backend.statistics().launches;
  const { positive, negative } = prepared.run(inputs, 1);
  const made = [positive, negative] as const;
  for (const one of made) expect(one).toMatchObject({ shape: [...shape.slice(0, -1), 1], dtype: 'i32' });
  const [first, second] = await Promise.all(made.map(async (one) => Array.from(await backend.read(one))));
  expect(backend.statistics().launches - before).toBe(1);
  for (const one of [...Object.values(inputs), ...made]) backend.release(one);
  return [first as number[], second as number[]];
}

const wordsOf = ({ shape, firstQuery }: Draws): Float32Array =>
  Float32Array.from(philoxBits(SEED, [0, 0, firstQuery, 0], shape));

/** As ops draw, which rank the words of each kind as f32 and take the first of the largest. */
function byRanks(weights: readonly number[], draws: Draws, mask?: Mask): Pair {
  const words = wordsOf(draws);
  const width = draws.shape[3] as number;
  const pair: [number[], number[]] = [[], []];
  for (let row = 0; row < words.length / width; row++) {
    const best = [-1, -1];
    for (let j = 0; j < width; j++) {
      const at = row * width + j;
      const isWeighted = (weights[at] as number) > 0;
      if (!isWeighted && mask !== undefined && !isVisible(mask, draws.shape, at)) continue;
      const kind = isWeighted ? 0 : 1;
      const so = best[kind] as number;
      if (so < 0 || (words[at] as number) > (words[row * width + so] as number)) best[kind] = j;
    }
    pair[0].push(best[0] as number);
    pair[1].push(best[1] as number);
  }
  return pair;
}

/** As NumPy broadcasts, coordinate by coordinate. */
function isVisible(mask: Mask, shape: Shape, at: number): boolean {
  let [rest, place, step] = [at, 0, 1];
  for (let axis = 3; axis >= 0; axis--) {
    const extent = shape[axis] as number;
    if (mask.shape[axis] !== 1) place += step * (rest % extent);
    step *= mask.shape[axis] as number;
    rest = Math.floor(rest / extent);
  }
  return mask.data[place] === true;
}

const filled = <T>(count: number, of: (at: number) => T): T[] =>
  Array.from({ length: count }, (_, at) => of(at));

/** A weight of a row, by what the row is like. */
const rows: readonly ((next: () => number) => number)[] = [
  (next) => (next() < 0.1 ? next() + 0.1 : 0),
  () => 0.5,
  () => 0,
  (next) => (next() < 0.5 ? next() + 0.1 : -0),
  () => Number.NaN,
  (next) => (next() < 0.01 ? Number.POSITIVE_INFINITY : 0),
];

/** Rows of all kinds in turn. */
function weightsOf(shape: Shape): number[] {
  const width = shape[3] as number;
  const next = randomNumbers(width);
  return filled(sizeOf(shape), (at) =>
    (rows[Math.floor(at / width) % rows.length] as (typeof rows)[0])(next),
  );
}

const widths = [1, 2, 31, 33, 36, 1000, 4096, 9001];

/** Masks of [2, 3, 5, width]. */
const masks = (width: number): Readonly<Record<string, Shape>> => ({
  pairs: [2, 3, 5, width],
  keys: [2, 1, 1, width],
  'keys of all': [1, 1, 1, width],
  queries: [2, 1, 5, 1],
  'queries and keys': [1, 1, 5, width],
  heads: [1, 3, 1, width],
  'heads alone': [1, 3, 1, 1],
  nothing: [1, 1, 1, 1],
});

for (const width of widths) {
  optional(`what ranks of all entries give: rows of ${width}`, software, async () => {
    const backend = await openTestBackend();
    const shape = [2, 3, 5, width];
    const weights = weightsOf(shape);
    for (const firstQuery of [0, 1, 4093]) {
      const draws = { shape, firstQuery };
      const wanted = byRanks(weights, draws);
      expect(await drawn(backend, weights, draws), `from ${firstQuery} on`).toEqual(wanted);
      // Rows without weights, and rows of nothing else.
      expect(wanted.map((places) => places.includes(-1))).toEqual([true, true]);
    }
  });

  optional(`what a mask hides is not drawn: rows of ${width}`, software, async () => {
    const backend = await openTestBackend();
    const draws = { shape: [2, 3, 5, width], firstQuery: 7 };
    const weights = weightsOf(draws.shape);
    const next = randomNumbers(width + 1);
    for (const [name, shape] of Object.entries(masks(width))) {
      for (const share of [0, 0.6]) {
        const mask = { shape, data: filled(sizeOf(shape), () => next() < share) };
        const wanted = byRanks(weights, draws, mask);
        expect(await drawn(backend, weights, draws, mask), `${name}, ${share}`).toEqual(wanted);
        if (share === 0) expect(new Set(wanted[1])).toEqual(new Set([-1]));
      }
    }
  });
}

for (const width of [4096, 4097]) {
  optional(
    `of words that f32 does not tell apart the first is drawn: rows of ${width}`,
    software,
    async () => {
      const backend = await openTestBackend();
      const draws = { shape: [1, 2, 40, width], firstQuery: 3 };
      const words = philoxBits(SEED, [0, 0, draws.firstQuery, 0], draws.shape);
      const weights = new Array<number>(words.length).fill(0);
      const expected = new Array<number>(80).fill(-1);
      for (let row = 0; row < 80; row++) {
        const firsts = new Map<number, number>();
        for (let j = 0; j < width && expected[row] === -1; j++) {
          const [word, rounded] = [
            words[row * width + j] as number,
            Math.fround(words[row * width + j] as number),
          ];
          const first = firsts.get(rounded) ?? j;
          firsts.set(rounded, first);
          // By the words themselves the second would be drawn.
          if ((words[row * width + first] as number) >= word) continue;
          expected[row] = first;
          weights[row * width + first] = 1;
          weights[row * width + j] = 1;
        }
      }
      expect(expected.filter((first) => first >= 0).length).toBeGreaterThan(2);
      const made = await drawn(backend, weights, draws);
      expect(made[0]).toEqual(expected);
      expect(made).toEqual(byRanks(weights, draws));
    },
  );
}

optional('rows in parts draw what they draw together', software, async () => {
  const backend = await openTestBackend();
  const [width, queries] = [100, 11];
  const weights = filled(queries * width, (at) => at % 3);
  const [all, others] = await drawn(backend, weights, { shape: [1, 1, queries, width], firstQuery: 0 });
  for (const [first, count] of [
    [0, 4],
    [4, 6],
    [10, 1],
  ] as const) {
    const own = weights.slice(first * width, (first + count) * width);
    const draws = { shape: [1, 1, count, width], firstQuery: first };
    expect(await drawn(backend, own, draws)).toEqual([
      all.slice(first, first + count),
      others.slice(first, first + count),
    ]);
  }
});

test('what it does not take, it refuses', () => {
  const operation = drawnEntries({} as never, PLAIN, () => {
    throw new Error('nothing is made');
  });
  const refusalsOf = (shape: Shape, visible?: Shape): readonly string[] => {
    const request = { shape, seed: 1, firstQuery: 0, ...(visible && { visible }) };
    const prepared = operation.prepare(request, {} as never);
    return 'refusals' in prepared ? prepared.refusals : [];
  };
  expect(refusalsOf([1, 1, 4, 0])).toEqual(['no weights']);
  expect(refusalsOf([1, 2, 2 ** 14, 2 ** 14])).toEqual([expect.stringContaining('exceeds a binding')]);
  expect(refusalsOf([1, 2, 2 ** 10, 2 ** 14])).toEqual([]);
  expect(refusalsOf([2, 2, 2, 8], [2, 1, 2, 8])).toEqual([]);
});
