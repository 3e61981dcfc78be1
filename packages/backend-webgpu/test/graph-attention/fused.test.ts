import {
  explainGraphAttention,
  type GraphAttentionOptions,
  graphAttention,
  pullback,
  type Tensor,
  tensor,
} from '@topk-attention/core';
import type { Backend, GraphAttentionRequest } from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import { fusedGraphAttention } from '../../src/graph-attention/fused-graph-attention.js';
import { randomNumbers } from '../support/backward.js';
import { openTestBackend } from '../support/software-gpu.js';

/** Sizes across the edges of a workgroup of 64 and of its arrays of 64, 256 and 1,024 entries. */
interface Case {
  readonly length: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly entries: number;
  readonly graphHeads: number;
  readonly options?: GraphAttentionOptions;
  /** Shape of a bias. */
  readonly bias?: readonly number[];
}

type Inputs = {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly bias?: Tensor;
};

const cases: Readonly<Record<string, Case>> = {
  'vectors of four, a graph of each head': {
    ...{ length: 90, headDim: 16, valueDim: 72, entries: 64, graphHeads: 4 },
  },
  'odd widths, a shared graph, causal': {
    ...{ length: 70, headDim: 7, valueDim: 67, entries: 65, graphHeads: 1, options: { causal: true } },
  },
  'more entries than keys, a bias': {
    ...{ length: 40, headDim: 16, valueDim: 8, entries: 300, graphHeads: 1, bias: [1, 4, 1, 300] },
  },
  'a bias of every entry, in chunks': {
    ...{ length: 70, headDim: 8, valueDim: 8, entries: 67, graphHeads: 4, bias: [2, 4, 70, 67] },
    options: { queryChunk: 16, causal: true },
  },
  'a bias of every entry that sequences and heads share': {
    ...{ length: 33, headDim: 8, valueDim: 8, entries: 5, graphHeads: 4, bias: [1, 1, 33, 5] },
  },
  'a bias of a sequence, in chunks': {
    ...{ length: 130, headDim: 8, valueDim: 8, entries: 9, graphHeads: 4, bias: [2, 1, 1, 9] },
    options: { queryChunk: 50 },
  },
  'a bias of every query': {
    ...{ length: 33, headDim: 8, valueDim: 8, entries: 5, graphHeads: 4, bias: [1, 4, 33, 1] },
  },
  'one number as a bias': {
    ...{ length: 33, headDim: 8, valueDim: 8, entries: 5, graphHeads: 4, bias: [1, 1, 1, 1] },
  },
};
const [batch, heads, keyHeads] = [2, 4, 2] as const;

async function results(backend: Backend, one: Case): Promise<Readonly<Record<string, readonly number[]>>> {
  const { length, headDim, valueDim, entries, graphHeads, options = {} } = one;
  const random = (seed: number, ...shape: number[]): Tensor =>
    tensor(
      backend,
      randomNumbers(
        shape.reduce((a, b) => a * b, 1),
        seed,
      ),
      shape,
    );
  const shape = [batch, graphHeads, length, entries];
  const numbers = randomNumbers(batch * graphHeads * length * entries, 5);
  const graph = tensor(
    backend,
    Int32Array.from(numbers, (x) => Math.floor(((x + 1) / 2) * (length + 1)) - 1),
    shape,
  );
  const inputs: Inputs = {
    q: random(1, batch, heads, length, headDim),
    k: random(2, batch, keyHeads, length, headDim),
    v: random(3, batch, keyHeads, length, valueDim),
    ...(one.bias && { bias: random(6, ...one.bias) }),
  };
  const call = ({ q, k, v, bias }: Inputs): Tensor =>
    graphAttention(q, k, v, graph, { ...options, ...(bias && { bias }) });
  const output = call(inputs);
  const pulled = pullback(call, inputs);
  const gradients = pulled.backward(random(4, ...output.shape));
  const read: Record<string, readonly number[]> = {};
  for (const [name, x] of Object.entries({ output, trained: pulled.output, ...gradients })) {
    read[name] = Array.from(await x.data(), Number);
  }
  return read;
}

for (const [name, one] of Object.entries(cases)) {
  optional(`attention over a graph of the reference: ${name}`, softwareGpuAvailability(), async () => {
    const backend = await openTestBackend();
    const wanted = await results(createReferenceBackend(), one);
    const got = await results(backend, one);
    expect(Object.keys(got)).toEqual(Object.keys(wanted));
    for (const [what, numbers] of Object.entries(wanted)) {
      const mine = got[what] ?? [];
      expect(mine.length, what).toBe(numbers.length);
      const worst = numbers.reduce((most, x, at) => Math.max(most, Math.abs(x - (mine[at] as number))), 0);
      expect(worst, what).toBeLessThan(3e-5);
    }
  });
}

optional('both passes run as a whole, with a bias too', softwareGpuAvailability(), async () => {
  const backend = await openTestBackend();
  const shape = [1, 4, 128, 16];
  const shapes = { q: shape, k: shape, v: shape, graph: [1, 1, 128, 8] };
  for (const bias of [undefined, [1, 4, 128, 8], [1, 1, 1, 8]]) {
    const plan = explainGraphAttention(backend, shapes, { training: true, ...(bias && { bias }) });
    expect([plan.path, plan.backward?.path]).toEqual(['fused', 'fused']);
  }
});

optional('a bias of entries that are not used has no gradient', softwareGpuAvailability(), async () => {
  const wanted: Array<readonly number[]> = [];
  for (const backend of [createReferenceBackend(), await openTestBackend()]) {
    const of = (numbers: readonly number[], ...shape: number[]): Tensor => tensor(backend, numbers, shape);
    const graph = tensor(backend, Int32Array.of(0, -1, 1, 0, 1, 1, 1, 7), [1, 1, 2, 4]);
    const inputs = {
      q: of([1, 2], 1, 1, 2, 1),
      k: of([0.5, -1], 1, 1, 2, 1),
      v: of([1, 3], 1, 1, 2, 1),
      bias: of([0, 1, -1, 2, 0.5, 0, 0, 0], 1, 1, 2, 4),
    };
    const pulled = pullback(
      ({ q, k, v, bias }: typeof inputs) => graphAttention(q, k, v, graph, { bias }),
      inputs,
    );
    const { bias } = pulled.backward(of([1, 1], 1, 1, 2, 1));
    wanted.push(Array.from(await bias.data(), (x) => Math.fround(Number(x))));
  }
  const [ofReference, ofDevice] = wanted as [readonly number[], readonly number[]];
  // The second row names a key that does not exist, and is NaN but for what repeats.
  expect(ofReference.map(Number.isNaN)).toEqual([false, false, false, false, true, false, false, true]);
  expect(ofDevice.map(Number.isNaN)).toEqual(ofReference.map(Number.isNaN));
  for (const at of [0, 1, 2, 3, 5, 6]) expect(ofDevice[at]).toBeCloseTo(ofReference[at] as number, 6);
});

test('too many entries, buffers or bytes are refused', () => {
  const facts = { bindingBytes: 2 ** 20, storageBuffers: 8 };
  const operation = fusedGraphAttention(undefined as never, facts as never, undefined as never);
  const request: GraphAttentionRequest = {
    ...{ batch: 1, queryHeads: 1, keyHeads: 1, queryLength: 100, keyLength: 100, headDim: 8, valueDim: 8 },
    ...{ dtype: 'f32', entries: 2000, graph: [1, 1, 100, 2000], scale: 1, causal: false, saves: true },
    ...{ keyLengths: true, keyMask: [1, 100], bias: [1, 1, 100, 2000] },
  };
  expect(operation.prepare(request, undefined as never)).toEqual({
    refusals: ['2000 entries per query exceed 1024', '10 buffers exceed the 8 that the device binds'],
  });
  const small = { ...request, entries: 64, graph: [1, 1, 100, 64], bias: [1, 1, 100, 64], saves: false };
  const wide = { ...small, queryLength: 50_000 };
  expect(operation.prepare(wide, undefined as never)).toEqual({
    refusals: ['a tensor of 1600000 bytes exceeds a binding of 1048576'],
  });
});
