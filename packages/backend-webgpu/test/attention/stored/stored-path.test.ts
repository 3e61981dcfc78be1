import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import type { ForwardPath } from '../../../src/attention/shared/forward-path.js';
import { recordStored, storedPath } from '../../../src/attention/stored/stored-path.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import { deviceFacts } from '../../../src/runtime/facts.js';
import { Stream } from '../../../src/runtime/stream.js';
import { arraysFor, expectAnswer, requestWith, runPath } from '../../support/attention-harness.js';

/** The software GPU takes seconds to compile a product. */
const SLOW_COMPILER_MS = 900_000;

const available = softwareGpuAvailability();
let stream: Stream | undefined;

async function sharedStream(): Promise<Stream> {
  stream ??= new Stream((await acquireDevice({ defaultLimits: true })).device);
  return stream;
}

function checks(
  name: string,
  special: Partial<AttentionRequest>,
  chunk?: number,
  path: ForwardPath = storedPath,
): void {
  optional(
    `stored: ${name}`,
    available,
    async () => {
      const shared = await sharedStream();
      const request = requestWith(special);
      expect(path.refuses(request, deviceFacts(shared.device))).toEqual([]);
      const arrays = arraysFor(request);
      expectAnswer(request, arrays, await runPath(shared, path, request, arrays, chunk));
    },
    SLOW_COMPILER_MS,
  );
}

const everything: Partial<AttentionRequest> = {
  batch: 2,
  queryHeads: 4,
  keyHeads: 2,
  queryLength: 9,
  keyLength: 33,
  causal: true,
  keyLengths: true,
  mask: [2, 1, 9, 33],
  bias: [1, 4, 1, 33],
  relativeBias: { bidirectional: true, maxDistance: 12, buckets: 8 },
  dropout: { rate: 0.5, seed: 3 },
  k: 8,
};

checks('plain', {});
checks('one query, one key', { queryLength: 1, k: 1, headDim: 1 });
for (const keyLength of [255, 256, 257]) checks(`${keyLength} keys`, { queryLength: 5, keyLength, k: 9 });
for (const k of [1, 2, 255, 256, 299, 300]) checks(`k ${k} of 300`, { queryLength: 3, keyLength: 300, k });
for (const headDim of [1, 3, 4, 12, 17, 64, 256]) checks(`head dim ${headDim}`, { headDim, queryLength: 5 });
for (const valueDim of [1, 2, 7, 128, 130, 300]) checks(`value dim ${valueDim}`, { valueDim });
for (const headDim of [2, 3, 8, 20]) {
  checks(`f16, head dim ${headDim}`, { headDim, valueDim: 6, dtype: 'f16', queryLength: 11 });
}
checks('causal', { queryLength: 70, causal: true });
checks('causal, fewer queries', { queryLength: 5, keyLength: 140, causal: true, k: 20 });
checks('causal, more queries: empty rows', { queryLength: 20, keyLength: 7, causal: true });
checks('causal, spare keys', { queryLength: 5, keyLength: 140, causal: true, queryStart: 40, k: 20 });
checks('key lengths', { batch: 3, keyLengths: true, keyLength: 15 });
checks('grouped heads', { batch: 2, queryHeads: 6, keyHeads: 2, queryLength: 30, causal: true });
checks('grouped heads in chunks', { batch: 2, queryHeads: 6, keyHeads: 2, queryLength: 30, causal: true }, 7);
checks('without lists', { saves: false, queryLength: 33 }, 8);
checks('negative scale', { scale: -0.5 });
checks('no scale', { scale: 0 });
for (const mask of [
  [2, 1, 1, 14],
  [1, 2, 9, 1],
  [2, 2, 9, 14],
  [1, 1, 1, 1],
]) {
  checks(`mask ${mask}`, { batch: 2, keyLength: 14, mask }, 4);
}
for (const bias of [
  [2, 1, 1, 14],
  [1, 2, 9, 1],
  [2, 2, 9, 14],
]) {
  checks(`bias ${bias}`, { batch: 2, keyLength: 14, bias }, 4);
}
for (const bidirectional of [true, false]) {
  const relativeBias = { bidirectional, maxDistance: 12, buckets: 8 };
  checks(`relative bias, bidirectional ${bidirectional}`, { queryLength: 40, relativeBias }, 16);
  checks(`relative bias, fewer queries, ${bidirectional}`, { keyLength: 40, relativeBias, causal: true }, 4);
  checks(
    `relative bias, queries placed, ${bidirectional}`,
    { keyLength: 40, relativeBias, queryStart: 7 },
    4,
  );
}
checks('dropout', { batch: 2, queryLength: 12, k: 6, dropout: { rate: 0.3, seed: 2 ** 40 + 5 } }, 5);
checks('everything', everything);

// What a device in hardware runs: products in tiles.
const onHardware = (workgroupBytes: number): ForwardPath => ({
  ...storedPath,
  record: (on, request, views, chunk) =>
    recordStored(on, request, views, chunk, { ...on.facts, isSoftware: false, workgroupBytes }),
});
const tiled = onHardware(16_384);
const large = onHardware(32_768);
for (const queryLength of [1, 63, 64, 65]) {
  checks(`tiled, ${queryLength} queries`, { queryLength, keyLength: 20 }, undefined, tiled);
}
for (const keyLength of [127, 128, 129, 257]) {
  checks(`tiled, ${keyLength} keys`, { queryLength: 5, keyLength, k: 9 }, undefined, tiled);
}
for (const queryLength of [127, 128, 129]) {
  checks(`tiles of 128 rows, ${queryLength} queries`, { queryLength, keyLength: 20 }, undefined, large);
}
checks('tiled, everything', everything, 5, tiled);
checks('tiled, f16, head dim 21', { headDim: 21, dtype: 'f16', valueDim: 8 }, undefined, tiled);
checks('tiled, head dim 36, causal', { headDim: 36, queryLength: 70, causal: true }, undefined, tiled);

optional(
  'stored: tiles give the bits of the simplest kernel',
  available,
  async () => {
    const shared = await sharedStream();
    const request = requestWith({ queryLength: 70, keyLength: 140, headDim: 36, k: 9 });
    const arrays = arraysFor(request);
    const rough = { ...arrays, q: Float32Array.from(arrays.q, (x, at) => x * (1 + (at % 7) * 0.013)) };
    const plain = await runPath(shared, storedPath, request, rough);
    expect(await runPath(shared, tiled, request, rough)).toEqual(plain);
    expect(await runPath(shared, large, request, rough)).toEqual(plain);
    expect(await runPath(shared, storedPath, request, rough, 16)).toEqual(plain);
  },
  SLOW_COMPILER_MS,
);

optional('stored: NaN, infinities and hidden keys', available, async () => {
  const shared = await sharedStream();
  const request = requestWith({ queryLength: 12, keyLength: 12, bias: [1, 1, 12, 12], causal: true, k: 3 });
  const arrays = arraysFor(request);
  const bias = Float32Array.from(arrays.bias ?? []);
  bias[2 * 12 + 1] = Number.NaN;
  bias[3 * 12 + 7] = Number.NaN; // hidden by causality
  bias[5 * 12 + 2] = Number.POSITIVE_INFINITY;
  bias.fill(Number.NEGATIVE_INFINITY, 6 * 12, 7 * 12);
  bias.fill(Number.NEGATIVE_INFINITY, 8 * 12, 8 * 12 + 7);
  const v = Float32Array.from(arrays.v);
  v[3] = Number.NaN;
  const all = { ...arrays, bias, v };
  expectAnswer(request, all, await runPath(shared, storedPath, request, all));
});

optional('stored: -0 and 0 are equal scores', available, async () => {
  const shared = await sharedStream();
  const request = requestWith({ queryHeads: 1, queryLength: 1, keyLength: 6, headDim: 1, k: 3, scale: 1 });
  const arrays = { q: [1], k: [-1, 0, -0, -0, 0, 0], v: [1, 2, 3, 4, 5, 6] };
  const typed = {
    q: Float32Array.from(arrays.q),
    k: Float32Array.from(arrays.k),
    v: Float32Array.from(arrays.v),
  };
  const { indices } = await runPath(shared, storedPath, request, typed);
  expect([...indices]).toEqual([1, 2, 3]);
});
