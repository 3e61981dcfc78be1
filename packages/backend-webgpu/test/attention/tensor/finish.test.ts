import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect } from 'vitest';
import { COUNTER_WORDS } from '../../../src/attention/shared/counters.js';
import type { Part } from '../../../src/attention/shared/geometry.js';
import type { Candidates } from '../../../src/attention/tensor/candidates.js';
import { recordFinish } from '../../../src/attention/tensor/finish.js';
import { recordTables } from '../../../src/attention/tensor/tables.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import { type DeviceFacts, deviceFacts } from '../../../src/runtime/facts.js';
import { f32Bits, type Span } from '../../../src/runtime/kernel.js';
import { Stream } from '../../../src/runtime/stream.js';
import { arraysFor, Call, plainRequest, randomNumbers, uploadWords } from '../../support/tensor.js';

/** How the candidates of a row are made: any of them must lead to the same result. */
type Listing = 'complete' | 'proved' | 'unproved' | 'overflow';

/** One device for the file: calls that differ in their numbers share compiled kernels. */
let started: Promise<{ readonly stream: Stream; readonly facts: DeviceFacts }> | undefined;

function start(): Promise<{ readonly stream: Stream; readonly facts: DeviceFacts }> {
  started ??= acquireDevice().then(({ device }) => ({
    stream: new Stream(device),
    facts: deviceFacts(device),
  }));
  return started;
}

afterAll(async () => (await started)?.stream.device.destroy());

/** Candidates of a block in ascending order, made from the reference's own scores. */
function listRows(call: Call, block: Part, capacity: number, listing: (row: number) => Listing) {
  const { request, expected } = call;
  const k = request.k as number;
  const random = randomNumbers(7);
  const rows = block.heads * block.queries;
  const lists = new Uint32Array(rows * capacity);
  const heads = new Uint32Array(2 * rows);
  for (let r = 0; r < rows; r++) {
    const head = block.firstHead + Math.floor(r / block.queries);
    const query = block.firstQuery + (r % block.queries);
    const at = (head * request.queryLength + query) * k;
    const kept = Array.from(expected.indices.subarray(at, at + k)).filter((index) => index >= 0);
    const lowest = Math.min(...expected.scores.subarray(at, at + kept.length));
    const others = Array.from({ length: request.keyLength }, (_, key) => key).filter(
      (key) => !kept.includes(key),
    );
    let how = listing(r);
    if (kept.length < k || Number.isNaN(lowest)) how = how === 'proved' ? 'complete' : how;
    const isComplete = how === 'complete';
    if (isComplete && request.keyLength > capacity) how = 'overflow';
    const keys = isComplete ? [...kept, ...others] : [...kept, ...others.filter(() => random() < 0.1)];
    const listed = keys.slice(0, capacity).sort((a, b) => a - b);
    lists.set(listed, r * capacity);
    heads[2 * r] = how === 'overflow' ? capacity + 1 + Math.floor(random() * 9) : listed.length;
    const threshold = { complete: Number.NEGATIVE_INFINITY, overflow: 0, proved: lowest, unproved: 1e30 }[
      how
    ];
    heads[2 * r + 1] = f32Bits(threshold);
  }
  return { lists: uploadWords(call.stream, lists), heads: uploadWords(call.stream, heads) };
}

/** Twice k, rounded up to a power of two. */
function capacityFor(k: number): number {
  return Math.max(64, 2 ** Math.ceil(Math.log2(2 * k)));
}

function finish(
  stream: Stream,
  facts: DeviceFacts,
  { request, views }: Call,
  part: Part,
  candidates: Candidates,
  counters: Span,
): void {
  const tables = recordTables(stream, request, views);
  recordFinish(stream, facts, { request, views, part, candidates, tables, counters });
}

async function run(
  request: AttentionRequest,
  seed: number,
  blocks: readonly Part[],
  listing: Listing | 'mixed',
) {
  const { stream, facts } = await start();
  const call = new Call(stream, request, arraysFor(request, seed));
  const capacity = capacityFor(request.k as number);
  const counters = uploadWords(stream, new Uint32Array(COUNTER_WORDS));
  const cycle: Listing[] = ['complete', 'proved', 'unproved', 'overflow'];
  for (const block of blocks) {
    const { lists, heads } = listRows(call, block, capacity, (row) =>
      listing === 'mixed' ? (cycle[row % 4] as Listing) : listing,
    );
    finish(stream, facts, call, block, { lists, heads, capacity }, counters);
  }
  await call.check();
  const counted = new Uint32Array((await stream.read(counters)).buffer);
  return counted;
}

const all = (request: AttentionRequest): Part[] => [
  {
    firstHead: 0,
    heads: request.batch * request.queryHeads,
    firstQuery: 0,
    queries: request.queryLength,
  },
];

for (const listing of ['complete', 'proved', 'unproved', 'overflow', 'mixed'] as const) {
  optional(`${listing} lists lead to the reference's result`, softwareGpuAvailability(), async () => {
    const counted = await run(plainRequest, 1, all(plainRequest), listing);
    const rows = plainRequest.queryHeads * plainRequest.queryLength;
    const slow = { complete: rows, proved: 0, unproved: rows, overflow: rows, mixed: 0 }[listing];
    if (listing !== 'mixed' && listing !== 'complete') expect(counted[0]).toBe(slow);
  });
}

const variants: Record<string, Partial<AttentionRequest>> = {
  causal: { causal: true },
  'causal, fewer queries than keys': { causal: true, queryLength: 5, keyLength: 50 },
  'causal, more queries than keys': { causal: true, queryLength: 20, keyLength: 9, k: 4 },
  'causal, queries placed, relative bias': {
    causal: true,
    queryStart: 20,
    relativeBias: { bidirectional: true, maxDistance: 20, buckets: 8 },
    scale: 1,
  },
  'key lengths, batches': { batch: 3, keyLengths: true, queryLength: 7 },
  'grouped heads': { queryHeads: 6, keyHeads: 2, queryLength: 9, causal: true },
  'relative bias': {
    relativeBias: { bidirectional: true, maxDistance: 20, buckets: 8 },
    causal: false,
    scale: 1,
  },
  'relative bias, one direction': {
    relativeBias: { bidirectional: false, maxDistance: 16, buckets: 6 },
    causal: true,
  },
  dropout: { dropout: { rate: 0.3, seed: 2 ** 40 + 77 } },
  'f16 storage': { dtype: 'f16' },
  'nothing saved': { saves: false },
  'k = 1': { k: 1 },
  'k = 100 of 130': { k: 100, keyLength: 130, queryLength: 6, queryHeads: 1, keyHeads: 1 },
  'k = 500 of 600': { k: 500, keyLength: 600, queryLength: 2, queryHeads: 1, keyHeads: 1 },
  'head dims 48 and 36': { headDim: 48, valueDim: 36, queryLength: 9 },
  'head dims 64 and 128': { headDim: 64, valueDim: 128, queryLength: 5 },
  'head dims 128 and 256': { headDim: 128, valueDim: 256, queryLength: 3, keyLength: 40 },
};

for (const [name, change] of Object.entries(variants)) {
  optional(`finish: ${name}`, softwareGpuAvailability(), async () => {
    const request = { ...plainRequest, ...change };
    await run(request, 3, all(request), 'mixed');
  });
}

optional('blocks of heads and queries cover a call', softwareGpuAvailability(), async () => {
  const request: AttentionRequest = {
    ...plainRequest,
    batch: 2,
    queryHeads: 4,
    keyHeads: 2,
    queryLength: 11,
    causal: true,
  };
  const blocks = [0, 3, 6].flatMap((firstHead) =>
    [0, 4, 8].map((firstQuery) => ({
      firstHead,
      heads: Math.min(3, 8 - firstHead),
      firstQuery,
      queries: Math.min(4, 11 - firstQuery),
    })),
  );
  await run(request, 5, blocks, 'mixed');
});

optional('NaN, infinities and equal scores', softwareGpuAvailability(), async () => {
  const request: AttentionRequest = {
    ...plainRequest,
    queryHeads: 1,
    keyHeads: 1,
    causal: true,
    keyLength: 37,
  };
  const poisons: ((arrays: { q: Float64Array; k: Float64Array; v: Float64Array }) => void)[] = [
    ({ k }) => k.fill(Number.NaN, 16 * 9, 16 * 10),
    ({ k }) => k.fill(Number.POSITIVE_INFINITY, 16 * 9, 16 * 9 + 1),
    ({ q }) => q.fill(0),
    ({ k }) => k.fill(1),
    ({ v }) => v.fill(Number.NaN, 16 * 3, 16 * 3 + 2),
  ];
  for (const poison of poisons) {
    for (const how of ['complete', 'overflow'] as const) {
      const { stream, facts } = await start();
      const arrays = arraysFor(request, 11);
      poison(arrays);
      const call = new Call(stream, request, arrays);
      const block = all(request)[0] as Part;
      const { lists, heads } = listRows(call, block, 64, () => how);
      const counters = uploadWords(stream, new Uint32Array(COUNTER_WORDS));
      finish(stream, facts, call, block, { lists, heads, capacity: 64 }, counters);
      await call.check();
    }
  }
});
