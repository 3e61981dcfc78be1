import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect } from 'vitest';
import { COUNTER_WORDS, COUNTERS } from '../../../src/attention/shared/counters.js';
import { H200_TUNING, type TensorTuning } from '../../../src/attention/tensor/parts.js';
import { tensorPath } from '../../../src/attention/tensor/tensor-path.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import { Stream } from '../../../src/runtime/stream.js';
import { arraysFor, Call, type Filled, plainRequest, uploadWords } from '../../support/tensor.js';

/** Everything of the tensor path but the matrices, whose products plain f32 stands in for. */
const tuning: TensorTuning = {
  ...H200_TUNING,
  emulated: true,
  subgroups: 1,
  strideFrom: 0,
  capacity: () => 128,
};

const long: AttentionRequest = {
  ...plainRequest,
  queryHeads: 1,
  keyHeads: 1,
  queryLength: 24,
  keyLength: 620,
  causal: true,
};

// One for the file: compiling its kernels takes most of the time.
let started: Promise<Stream> | undefined;
afterAll(async () => (await started)?.device.destroy());

async function run(request: AttentionRequest, used = tuning, change: (data: Filled) => void = () => {}) {
  started ??= acquireDevice().then(({ device }) => new Stream(device));
  const stream = await started;
  const arrays = arraysFor(request, 17, false);
  change(arrays);
  const call = new Call(stream, request, arrays);
  const counters = uploadWords(stream, new Uint32Array(COUNTER_WORDS));
  tensorPath(used, counters).record(stream, request, call.views, request.queryLength);
  await call.check();
  const counted = new Uint32Array((await stream.read(counters)).buffer);
  for (const view of Object.values(call.views)) stream.release(view.span);
  stream.release(counters);
  return counted[COUNTERS.flagged] as number;
}

const everySecond = { ...tuning, stride: () => 2 };

const cases: Record<
  string,
  [request: AttentionRequest, tuning: TensorTuning, change?: (data: Filled) => void]
> = {
  'every tile': [long, { ...tuning, stride: () => 2, strideFrom: 2 ** 31 }],
  'every second tile': [long, everySecond],
  'not causal, tails': [{ ...long, causal: false, keyLength: 613, queryLength: 33 }, everySecond],
  'groups of heads, two subgroups, lengths': [
    { ...long, batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 3, keyLengths: true },
    { ...everySecond, subgroups: 2 },
  ],
  'blocks of heads and of queries': [
    { ...long, queryHeads: 2, keyHeads: 2, queryLength: 70 },
    { ...everySecond, listBytes: 4 * 128 * 32, packedBytes: 1 },
  ],
  'f16 storage': [{ ...long, dtype: 'f16' }, everySecond],
  'negative scale, D = 32': [{ ...long, headDim: 32, scale: -0.2 }, everySecond],
  'relative bias': [
    { ...long, relativeBias: { bidirectional: false, maxDistance: 40, buckets: 8 } },
    everySecond,
  ],
  'queries placed, spare keys, relative bias': [
    {
      ...long,
      keyLength: 900,
      queryStart: 600,
      relativeBias: { bidirectional: true, maxDistance: 40, buckets: 8 },
    },
    everySecond,
  ],
  'relative bias both ways': [
    { ...long, causal: false, relativeBias: { bidirectional: true, maxDistance: 40, buckets: 8 } },
    everySecond,
  ],
  'keys with a common mean': [
    long,
    everySecond,
    ({ k }) => k.set(k.map((x, i) => Math.fround(x + 30 * Math.sin(i % 16)))),
  ],
  'keys past 65,504': [
    long,
    everySecond,
    ({ q, k }) => {
      k.set(k.map((x) => Math.fround(x * 3e5)));
      q.set(q.map((x) => Math.fround(x * 1e-5)));
    },
  ],
};

for (const [name, [request, used, change]] of Object.entries(cases)) {
  optional(`tensor path, products emulated: ${name}`, softwareGpuAvailability(), async () => {
    expect(await run(request, used, change)).toBeLessThan(4);
  });
}

optional('what lists cannot settle goes to the slow path', softwareGpuAvailability(), async () => {
  const rows = long.queryLength;
  const odd: [change: (data: Filled) => void, least: number, most: number][] = [
    [({ q }) => q.fill(0, 0, 16 * 8), 0, 3], // zeros: their first k keys, no slow path
    [({ k }) => k.fill(1), rows, rows],
    [({ k }) => k.fill(Number.NaN, 16 * 20, 16 * 20 + 1), 0, rows],
    [({ q }) => q.fill(Number.POSITIVE_INFINITY, 16 * 3, 16 * 3 + 1), 1, 4],
    [({ k }) => k.fill(Number.NEGATIVE_INFINITY, 16 * 20, 16 * 20 + 1), 0, rows],
  ];
  for (const [change, least, most] of odd) {
    const flagged = await run(long, everySecond, change);
    expect(flagged).toBeGreaterThanOrEqual(least);
    expect(flagged).toBeLessThanOrEqual(most);
  }
});
