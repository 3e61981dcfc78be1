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
  readonly bias?: boolean;
}

const cases: Readonly<Record<string, Case>> = {
  'vectors of four, a graph of each head': {
    ...{ length: 90, headDim: 16, valueDim: 72, entries: 64, graphHeads: 4 },
  },
  'odd widths, a shared graph, causal': {
    ...{ length: 70, headDim: 7, valueDim: 67, entries: 65, graphHeads: 1, options: { causal: true } },
  },
  'more entries than keys, a bias': {
    ...{ length: 40, headDim: 16, valueDim: 8, entries: 300, graphHeads: 1, bias: true },
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
  const bias = one.bias === true ? random(6, 1, heads, 1, entries) : undefined;
  const inputs = {
    q: random(1, batch, heads, length, headDim),
    k: random(2, batch, keyHeads, length, headDim),
    v: random(3, batch, keyHeads, length, valueDim),
  };
  const call = (p: typeof inputs): Tensor =>
    graphAttention(p.q, p.k, p.v, graph, { ...options, ...(bias && { bias }) });
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

optional(
  'both passes run as a whole, but for the gradient of a bias',
  softwareGpuAvailability(),
  async () => {
    const backend = await openTestBackend();
    const shape = [1, 4, 128, 16];
    const shapes = { q: shape, k: shape, v: shape, graph: [1, 1, 128, 8] };
    const plain = explainGraphAttention(backend, shapes, { training: true });
    expect([plain.path, plain.backward?.path]).toEqual(['fused', 'fused']);
    const biased = explainGraphAttention(backend, shapes, { training: true, bias: [1, 4, 128, 8] });
    expect([biased.path, biased.backward?.path]).toEqual(['fused', 'composed']);
    expect(biased.backward?.paths[0]?.refusals).toEqual(['a bias of entries: its gradient is composed']);
  },
);

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
