import type { AttentionRequest } from '@topk-attention/core/backend';
import type { AttentionArrays } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { storedPath } from '../../../src/attention/stored/stored-path.js';
import type { SweepsTuning } from '../../../src/attention/sweeps/part-size.js';
import { sweepsPathWith } from '../../../src/attention/sweeps/sweeps-path.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import { deviceFacts } from '../../../src/runtime/facts.js';
import { Stream } from '../../../src/runtime/stream.js';
import {
  type Answer,
  arraysFor,
  expectAnswer,
  requestWith,
  runPath,
} from '../../support/attention-harness.js';

/** The software GPU takes seconds to compile a product. */
const SLOW_COMPILER_MS = 900_000;

const available = softwareGpuAvailability();
const streams = new Map<boolean, Promise<Stream>>();

/** One for all tests: with WebGPU's default limits, or with what the adapter offers. */
function sharedStream(defaultLimits = true): Promise<Stream> {
  let stream = streams.get(defaultLimits);
  if (stream === undefined) {
    stream = acquireDevice({ defaultLimits }).then(({ device }) => new Stream(device));
    streams.set(defaultLimits, stream);
  }
  return stream;
}

/** Small lists, so that a few hundred keys do not fit in one and thresholds matter. */
const small: SweepsTuning = { capacity: 64, slowRows: 1 };
/** No list decides: every row goes to the slow path. */
const allSlow: SweepsTuning = { ...small, capacity: 32, rank: 1000 };

function checks(name: string, special: Partial<AttentionRequest>, tuning: SweepsTuning = {}): void {
  optional(
    `sweeps: ${name}`,
    available,
    async () => {
      const shared = await sharedStream(tuning.rows !== 128);
      const request = requestWith(special);
      const path = sweepsPathWith({ ...small, ...tuning });
      // Calls as small as these are faster stored, and refused for nothing else.
      const reasons = path.refuses(request, deviceFacts(shared.device));
      expect(reasons.filter((reason) => !/keys are below|an eighth of|almost empty/.test(reason))).toEqual(
        [],
      );
      const arrays = arraysFor(request);
      expectAnswer(request, arrays, await runPath(shared, path, request, arrays));
    },
    SLOW_COMPILER_MS,
  );
}

checks('fewer keys than a list holds', {});
for (const keyLength of [127, 128, 129, 300])
  checks(`${keyLength} keys`, { queryLength: 5, keyLength, k: 8 });
for (const queryLength of [63, 64, 65])
  checks(`${queryLength} queries`, { queryLength, keyLength: 140, k: 8 });
for (const k of [1, 31, 32, 33, 64]) checks(`k ${k}`, { queryLength: 3, keyLength: 150, k });
checks('k = Lk', { queryLength: 3, keyLength: 60, k: 60 });
checks('a sample of one in two', { queryLength: 3, keyLength: 700, k: 8 }, { shift: 1, rank: 12 });
checks('a sample of one in eight', { queryLength: 70, keyLength: 700, k: 4 }, { shift: 3, rank: 3 });
checks('groups of several samples', { queryLength: 3, keyLength: 1300, k: 4 }, { rank: 8 });
checks('shared among workgroups', { queryLength: 3, keyLength: 1300, k: 4 }, { shares: 4, segment: 256 });
checks('many parts', { queryLength: 40, keyLength: 200, k: 4 }, { listBytes: 8192 });
checks('causal', { queryLength: 200, queryHeads: 1, k: 8, causal: true });
checks('causal, fewer queries', { queryLength: 30, keyLength: 200, k: 8, causal: true });
checks('causal, more queries: empty rows', { queryLength: 40, keyLength: 20, k: 8, causal: true });
checks('causal, spare keys', { queryLength: 30, keyLength: 200, k: 8, causal: true, queryStart: 60 });
checks('causal, queries behind the keys', {
  ...{ queryLength: 3, keyLength: 150, k: 8, causal: true, queryStart: 170 },
  relativeBias: { bidirectional: true, maxDistance: 40, buckets: 8 },
});
checks('grouped heads', { batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 90, k: 8, causal: true });
checks('everything', {
  batch: 2,
  queryHeads: 4,
  keyHeads: 2,
  queryLength: 20,
  keyLength: 150,
  causal: true,
  queryStart: 90,
  keyLengths: true,
  relativeBias: { bidirectional: true, maxDistance: 12, buckets: 8 },
  dropout: { rate: 0.5, seed: 3 },
  k: 8,
});
checks('without lists', { queryLength: 5, keyLength: 150, k: 8, saves: false });
checks('f16', { queryLength: 5, keyLength: 150, k: 8, dtype: 'f16' });
checks('other dims', { queryLength: 5, keyLength: 150, k: 8, headDim: 21, valueDim: 40 });
checks('tiles of 128 rows', { queryLength: 70, keyLength: 200, k: 8 }, { rows: 128 });

/** Scores of one query and dim: q = 1, so that k holds the scores. */
function scoresProblem(
  keys: readonly number[],
  k: number,
): { request: AttentionRequest; arrays: AttentionArrays } {
  const count = keys.length;
  const request = requestWith({
    queryHeads: 1,
    queryLength: 2,
    keyLength: count,
    headDim: 16,
    valueDim: 16,
    k,
    scale: 1,
  });
  const { v } = arraysFor(request);
  const q = new Float32Array(32);
  q[0] = 1;
  q[16] = 1;
  const all = new Float32Array(16 * count);
  keys.forEach((key, j) => {
    all[16 * j] = key;
  });
  return { request, arrays: { q, k: all, v } };
}

const list = (count: number, f: (j: number) => number): number[] =>
  Array.from({ length: count }, (_, j) => f(j));

const patterns: Readonly<Record<string, readonly number[]>> = {
  'all equal': list(300, () => 1),
  'all zero, of either sign': list(300, (j) => (j % 3 === 0 ? -0 : 0)),
  'sorted up': list(300, (j) => j / 8),
  'sorted down': list(300, (j) => -j / 8),
  'one huge': list(300, (j) => (j === 177 ? 1e20 : (j * 37) % 101)),
  'duplicates of one key': list(300, (j) => (j % 7 === 0 ? 5 : (j * 37) % 4)),
  'a cluster': list(300, (j) => (j >= 128 && j < 160 ? 9 + (j % 5) / 8 : (j % 9) / 8)),
  'negative numbers': list(300, (j) => -1e-3 * ((j * 37) % 101) - 7),
  tiny: list(300, (j) => (j % 4) * 1e-30),
  'below the bound of safe numbers, then above': list(300, (j) => (j < 150 ? j : j * 1e30)),
  NaN: list(300, (j) => (j === 250 ? Number.NaN : j % 11)),
  infinite: list(300, (j) => (j === 250 ? Number.POSITIVE_INFINITY : j % 11)),
  'hidden by -inf': list(300, (j) => (j % 2 === 0 ? Number.NEGATIVE_INFINITY : j % 11)),
};

for (const [name, keys] of Object.entries(patterns)) {
  optional(
    `sweeps: ${name}`,
    available,
    async () => {
      const shared = await sharedStream();
      const { request, arrays } = scoresProblem(keys, 8);
      // 0 * inf is NaN: infinities meet only the dim that is not 0 when there is one dim.
      const narrow = { ...request, headDim: 1 };
      const first = {
        ...arrays,
        q: Float32Array.from(arrays.q).filter((_, at) => at % 16 === 0),
        k: Float32Array.from(arrays.k).filter((_, at) => at % 16 === 0),
      };
      const problem = keys.every(Number.isFinite) ? { request, arrays } : { request: narrow, arrays: first };
      const path = sweepsPathWith({ ...small, rank: 8 });
      expectAnswer(
        problem.request,
        problem.arrays,
        await runPath(shared, path, problem.request, problem.arrays),
      );
    },
    SLOW_COMPILER_MS,
  );
}

optional(
  'sweeps: an infinite key of one head leaves the other heads alone',
  available,
  async () => {
    const shared = await sharedStream();
    const request = requestWith({ queryLength: 7, keyLength: 9, k: 2 });
    const arrays = arraysFor(request);
    const k = Float32Array.from(arrays.k);
    k[3 * 16 + 1] = Number.POSITIVE_INFINITY;
    const problem = { ...arrays, k };
    expectAnswer(request, problem, await runPath(shared, sweepsPathWith(small), request, problem));
  },
  SLOW_COMPILER_MS,
);

const mixed = requestWith({ queryLength: 40, keyLength: 200, k: 8 });

/** Rows that went to the slow path, and of these too long lists. */
async function slowRows(tuning: SweepsTuning): Promise<{ answer: Answer; slow: number; long: number }> {
  const shared = await sharedStream();
  const counters = shared.scratch(32);
  shared.clear(counters);
  const answer = await runPath(shared, sweepsPathWith({ ...tuning, counters }), mixed, arraysFor(mixed));
  const words = new Uint32Array((await shared.read(counters)).buffer);
  shared.release(counters);
  return { answer, slow: words[0] as number, long: words[1] as number };
}

optional(
  'sweeps: the slow path takes lists that overflow, lists that are too short, and gives the same bits',
  available,
  async () => {
    const shared = await sharedStream();
    const arrays = arraysFor(mixed);
    const fast = await slowRows({ ...small, capacity: 256 });
    expect(fast).toMatchObject({ slow: 0 });
    expectAnswer(mixed, arrays, fast.answer);
    const long = await slowRows(allSlow);
    expect(long).toMatchObject({ slow: 80, long: 80 });
    expect(long.answer).toEqual(fast.answer);
    // A threshold above all keys but the largest, or its equals.
    const short = await slowRows({ ...small, capacity: 192, rank: 1 });
    expect(short.slow).toBeGreaterThan(0);
    expect(short.long).toBe(0);
    expect(short.answer).toEqual(fast.answer);
    const together = await slowRows({ ...allSlow, slowRows: 4 });
    expect(together.answer).toEqual(fast.answer);
    const stored = await runPath(shared, storedPath, mixed, arrays);
    expect(stored.indices).toEqual(fast.answer.indices);
    expect(stored.scores).toEqual(fast.answer.scores);
    expect((await slowRows({ ...small, capacity: 256 })).answer).toEqual(fast.answer);
  },
  SLOW_COMPILER_MS,
);

optional('sweeps: refuses with reasons', available, async () => {
  const facts = deviceFacts((await sharedStream()).device);
  const path = sweepsPathWith({});
  const reasons = (special: Partial<AttentionRequest>): readonly string[] =>
    path.refuses(requestWith({ keyLength: 8192, headDim: 64, k: 64, ...special }), facts);
  expect(reasons({})).toEqual([]);
  expect(reasons({ k: 'all' })).toEqual(['it keeps k keys, not all of them']);
  expect(reasons({ k: 600, keyLength: 9000 })).toEqual(['k 600 exceeds 512']);
  expect(reasons({ keyLength: 512 })).toEqual(['512 keys are below 1024']);
  expect(reasons({ k: 256, keyLength: 1024 })).toEqual(['k 256 is more than an eighth of 1024 keys']);
  expect(reasons({ mask: [1, 1, 1, 8192] })).toEqual(['there is a mask']);
  expect(reasons({ bias: [1, 1, 1, 8192] })).toEqual(['there is a bias for each query and key']);
  expect(reasons({ headDim: 300 })).toHaveLength(2);
  expect(reasons({ valueDim: 6 })).toEqual(['valueDim 6 is not a multiple of 4 up to 256']);
});
