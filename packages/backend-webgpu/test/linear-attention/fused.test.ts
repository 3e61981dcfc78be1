import {
  explainLinearAttention,
  fill,
  type LinearAttentionOptions,
  linearAttention,
  type Pullback,
  pullback,
  type Tensor,
  tensor,
} from '@topk-attention/core';
import type { Backend, LinearAttentionRequest } from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import { fusedLinearAttention } from '../../src/linear-attention/fused-linear-attention.js';
import { preferredSegment, segmentsOf } from '../../src/linear-attention/sizes.js';
import { randomNumbers } from '../support/backward.js';
import { openTestBackend } from '../support/software-gpu.js';

/** Sizes across the edges of tiles of 32 and 64 rows and columns, steps of 16, and chunks of 128 keys. */
interface Case {
  readonly queries: number;
  readonly keys: number;
  readonly features: number;
  readonly valueDim: number;
  readonly options: Pick<LinearAttentionOptions, 'causal' | 'normalise' | 'epsilon' | 'chunk'>;
  readonly lengths?: readonly number[];
  readonly masked?: boolean;
  readonly state?: boolean;
  /** Log scales of keys over a range that exp does not cover. */
  readonly scales?: boolean;
}

const causal = { causal: true };
const cases: Readonly<Record<string, Case>> = {
  'one segment of three chunks': { queries: 300, keys: 300, features: 40, valueDim: 33, options: causal },
  'segments that divide nothing, a state, lengths': {
    ...{ queries: 300, keys: 300, features: 17, valueDim: 33, lengths: [170, 300], state: true },
    options: { ...causal, chunk: 70 },
  },
  'all keys, two tiles of columns, a mask': {
    ...{ queries: 45, keys: 160, features: 33, valueDim: 130, masked: true },
    options: { epsilon: 0.5 },
  },
  'fewer queries than keys, not normalised': {
    ...{ queries: 100, keys: 300, features: 16, valueDim: 32, options: { ...causal, normalise: false } },
  },
  'more queries than keys, in segments': {
    ...{ queries: 140, keys: 75, features: 16, valueDim: 8, options: { ...causal, chunk: 40 } },
  },
  'log scales in segments, a state, lengths': {
    ...{ queries: 260, keys: 300, features: 17, valueDim: 33, lengths: [250, 300], state: true },
    ...{ scales: true, options: { ...causal, chunk: 150 } },
  },
  'causal, 32 values and their column of ones': {
    ...{ queries: 290, keys: 290, features: 68, valueDim: 32, lengths: [290, 5], options: causal },
  },
  'all keys, 32 values and their column of ones, chunks that do not divide': {
    ...{ queries: 150, keys: 420, features: 72, valueDim: 32, lengths: [0, 401], state: true },
    options: {},
  },
  'all keys, 64 values and their column of ones, in segments': {
    ...{ queries: 70, keys: 300, features: 65, valueDim: 64, masked: true, options: { chunk: 150 } },
  },
  'all keys, one chunk': { queries: 300, keys: 100, features: 16, valueDim: 32, options: {} },
  'all keys, one chunk of queries, not normalised': {
    ...{ queries: 65, keys: 200, features: 30, valueDim: 33, lengths: [200, 0] },
    options: { normalise: false },
  },
  'all keys, one value': { queries: 20, keys: 40, features: 3, valueDim: 1, options: {} },
  'all keys, more chunks than are read at a time': {
    ...{ queries: 5, keys: 1300, features: 5, valueDim: 3, state: true, options: {} },
  },
  'more chunks than are read at a time': {
    ...{ queries: 1290, keys: 1300, features: 5, valueDim: 3, state: true, scales: true, options: causal },
  },
  'one token': { queries: 1, keys: 1, features: 16, valueDim: 8, options: causal, state: true },
};

const [batch, heads, keyHeads] = [2, 2, 1] as const;

type Inputs = {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly sums?: Tensor;
  readonly total?: Tensor;
  readonly scales?: Tensor;
  readonly logScale?: Tensor;
};

async function results(backend: Backend, one: Case): Promise<Readonly<Record<string, readonly number[]>>> {
  const { queries, keys, features, valueDim, options, lengths, masked, state, scales } = one;
  const random = (seed: number, shape: readonly number[], make: (x: number) => number): Tensor => {
    const count = shape.reduce((a, b) => a * b, 1);
    return tensor(backend, randomNumbers(count, seed).map(make), shape);
  };
  const positive = (x: number): number => Math.abs(x) + 0.1;
  const plain = (x: number): number => x;
  const inputs: Inputs = {
    q: random(1, [batch, heads, queries, features], positive),
    k: random(2, [batch, keyHeads, keys, features], positive),
    v: random(3, [batch, keyHeads, keys, valueDim], plain),
    ...(state === true && {
      sums: random(4, [batch, keyHeads, features, valueDim], plain),
      total: random(5, [batch, keyHeads, features], positive),
    }),
    ...(scales === true && {
      scales: random(7, [batch, keyHeads, keys], (x) => 120 * x),
      logScale: random(8, [batch, keyHeads], (x) => 60 * x),
    }),
  };
  const given: LinearAttentionOptions = {
    ...options,
    ...(lengths && { keyLengths: tensor(backend, Int32Array.from(lengths)) }),
    ...(masked === true && {
      keyMask: tensor(
        backend,
        Uint8Array.from({ length: keys }, (_, at) => Number(at % 3 !== 0)),
        [1, keys],
      ),
    }),
  };
  const stateOf = ({ sums, total, scales: keyLogScale, logScale }: Inputs) => ({
    ...(keyLogScale && { keyLogScale }),
    ...(sums && total && { state: { sums, total, ...(logScale && { logScale }) } }),
  });
  const whole = linearAttention(inputs.q, inputs.k, inputs.v, {
    ...given,
    ...stateOf(inputs),
    returnState: true,
  });
  const pulled = pullback(
    (p: typeof inputs) => linearAttention(p.q, p.k, p.v, { ...given, ...stateOf(p), returnState: false }),
    inputs,
  );
  const gradients = pulled.backward(random(6, pulled.output.shape, plain));
  const made = { output: whole.output, ...whole.state, trained: pulled.output };
  const all = {
    ...made,
    ...Object.fromEntries(Object.entries(gradients).map(([name, x]) => [`d ${name}`, x])),
  };
  const read: Record<string, readonly number[]> = {};
  for (const [name, x] of Object.entries<Tensor>(all)) read[name] = Array.from(await x.data(), Number);
  return read;
}

for (const [name, one] of Object.entries(cases)) {
  optional(`linear attention of the reference: ${name}`, softwareGpuAvailability(), async () => {
    const backend = await openTestBackend();
    const wanted = await results(createReferenceBackend(), one);
    const got = await results(backend, one);
    expect(Object.keys(got)).toEqual(Object.keys(wanted));
    for (const [what, numbers] of Object.entries(wanted)) {
      const scale = numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
      const mine = got[what] ?? [];
      expect(mine.length, what).toBe(numbers.length);
      const worst = numbers.reduce((most, x, at) => Math.max(most, Math.abs(x - (mine[at] as number))), 0);
      expect(worst / scale, what).toBeLessThan(3e-5);
    }
  });
}

optional('it is planned in segments, within the budget', softwareGpuAvailability(), async () => {
  const backend = await openTestBackend();
  const shape = [1, 4, 2048, 64];
  const shapes = { queryFeatures: shape, keyFeatures: shape, value: shape };
  const roomy = explainLinearAttention(backend, shapes, { causal: true, training: true });
  expect([roomy.path, roomy.backward?.path]).toEqual(['fused', 'fused']);
  expect(roomy.plan).toMatchObject({ chunk: 2048, chunks: 1 });
  const budgetBytes = Math.round(0.93 * roomy.plan.bytes.total);
  const tight = explainLinearAttention(backend, shapes, { causal: true, budgetBytes });
  expect(tight.plan.chunks).toBeGreaterThan(1);
  expect(tight.plan.bytes.total).toBeLessThanOrEqual(budgetBytes);
  const scaled = explainLinearAttention(backend, shapes, { keyLogScale: [1, 4, 2048] });
  expect(scaled.paths[0]).toMatchObject({
    path: 'fused',
    refusals: ['log scales of keys without causality'],
  });
});

optional('planned bytes are 1.0 to 1.5 times those taken', softwareGpuAvailability(), async () => {
  const backend = await openTestBackend();
  const { pool } = backend.stream;
  // Results of a power of two of bytes, which their buffers do not round up.
  const shape = [1, 2, 512, 64];
  const shapes = { queryFeatures: shape, keyFeatures: shape, value: shape };
  const ones = (dims: readonly number[]): Tensor => fill(backend, 0.5, dims);
  const inputs = { q: ones(shape), k: ones(shape), v: ones(shape), scales: ones([1, 2, 512]) };
  const cotangent = ones(shape);
  for (const given of [
    { causal: true },
    { causal: true, chunk: 150 },
    { causal: false, keyLengths: tensor(backend, Int32Array.of(500)) },
    { causal: true, keyLogScale: inputs.scales },
  ]) {
    const { plan, backward } = explainLinearAttention(backend, shapes, { ...given, training: true });
    const taken = (record: () => void): number => {
      pool.resetPeak();
      const before = pool.peakUsedBytes;
      record();
      return pool.peakUsedBytes - before;
    };
    let pulled: Pullback<typeof inputs, Tensor> | undefined;
    const forward = taken(() => {
      pulled = pullback(
        (p) =>
          linearAttention(p.q, p.k, p.v, {
            ...given,
            ...('keyLogScale' in given && { keyLogScale: p.scales }),
          }),
        inputs,
      );
    });
    const back = taken(() => void pulled?.backward(cotangent));
    const { bytes } = (backward as NonNullable<typeof backward>).plan;
    // The divisors were there before.
    const ratios = { forward: plan.bytes.total / forward, back: (bytes.total - bytes.saved) / back };
    for (const [what, ratio] of Object.entries(ratios)) {
      expect(ratio, `${what} ${Object.keys(given)}`).toBeGreaterThanOrEqual(1);
      expect(ratio, `${what} ${Object.keys(given)}`).toBeLessThanOrEqual(1.5);
    }
  }
});

const request: LinearAttentionRequest = {
  ...{ batch: 1, queryHeads: 1, keyHeads: 1, queryLength: 10_000, keyLength: 10_000 },
  ...{ features: 64, valueDim: 64, dtype: 'f32', causal: true, normalise: true, epsilon: 0 },
  ...{ leastDenominator: Number.NEGATIVE_INFINITY, keyLengths: false, keyLogScale: false },
  ...{ continues: false, returnsState: false, saves: false },
};

test('segments cover all keys once, in chunks of whole tiles but for the last', () => {
  for (const causal of [true, false]) {
    const own = { ...request, causal, keyLength: 300 };
    for (const tokens of [1, 70, 128, 256, 300]) {
      const segments = segmentsOf(own, tokens);
      expect(segments[0]?.start).toBe(0);
      expect(segments.at(-1)?.end).toBe(300);
      for (const { start, end, chunk, chunks } of segments) {
        expect(chunk % 32).toBe(0);
        expect(chunks).toBe(Math.ceil((end - start) / chunk));
      }
      for (const [at, { start }] of segments.slice(1).entries()) expect(start).toBe(segments[at]?.end);
    }
  }
});

test.each([
  // As in an encoder of images: four tiles of 64 features, 64 groups, a thousand workgroups.
  [{ batch: 32, keyHeads: 2, keyLength: 4000, features: 256, valueDim: 32 }, 1024, 4],
  // One group: no chunk is shorter than a causal one.
  [{ keyLength: 4000, features: 32, valueDim: 32 }, 128, 32],
  // Many groups: one chunk.
  [{ batch: 512, keyHeads: 4, keyLength: 1000, features: 64, valueDim: 32 }, 1024, 1],
  // So are many tiles of one.
  [{ keyLength: 9000, features: 60_000, valueDim: 128 }, 9024, 1],
] as const)('without causality chunks keep a large GPU busy: %j', (special, chunk, chunks) => {
  const own: LinearAttentionRequest = { ...request, causal: false, ...special };
  const length = preferredSegment({ ...own, queryLength: own.keyLength });
  expect(length).toBe(own.keyLength);
  expect(segmentsOf(own, length)).toEqual([{ start: 0, end: own.keyLength, chunk, chunks }]);
});

test('a tensor beyond a binding is refused', () => {
  const operation = fusedLinearAttention(
    undefined as never,
    { bindingBytes: 2 ** 20 } as never,
    undefined as never,
  );
  expect(operation.prepare(request, undefined as never)).toEqual({
    refusals: ['a tensor of 2600000 bytes exceeds a binding of 1048576'],
  });
});
