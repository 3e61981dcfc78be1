import {
  type AttentionOptions,
  exactAttention,
  reshape,
  slice,
  type Tensor,
  tensor,
  topKAttention,
  topKFeedForward,
  transpose,
} from '@topk-attention/core';
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { createOnnxRuntimeBackend, fromOrt, type OnnxRuntimeBackend, toOrt } from '../src/index.js';

/**
 * What is remembered between calls (sessions by structure, windows of relative biases by table, magnitudes by tensor) must depend
 * on everything that its use depends on: calls that differ in one thing, one after the other on one backend, give what each
 * gives on a backend of its own.
 */
const numbers = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, at) => Math.sin(at * 1.7) * 2);

interface Inputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly table: Tensor;
  readonly wIn: Tensor;
  readonly wOut: Tensor;
}

function inputsOn(backend: OnnxRuntimeBackend): Inputs {
  const make = (shape: readonly number[]): Tensor =>
    tensor(backend, numbers(shape.reduce((size, extent) => size * extent, 1)), shape);
  return {
    q: make([1, 2, 12, 4]),
    k: make([1, 2, 12, 4]),
    v: make([1, 2, 12, 4]),
    table: make([8, 2]),
    wIn: make([4, 6]),
    wOut: make([6, 4]),
  };
}

type Call = (inputs: Inputs) => Tensor;

const relative = (table: Tensor, bidirectional: boolean, maxDistance: number): AttentionOptions => ({
  relativeBias: { table, bidirectional, maxDistance },
  queryChunk: 4,
});
const last = ({ q }: Inputs, count: number): Tensor => slice(q, [0, 0, 12 - count, 0], [1, 2, count, 4]);

const groups: { readonly [name: string]: readonly Call[] } = {
  'windows of one table': [
    (x) => exactAttention(x.q, x.k, x.v, relative(x.table, true, 16)),
    (x) => exactAttention(x.q, x.k, x.v, relative(x.table, true, 9)),
    (x) => exactAttention(x.q, x.k, x.v, relative(x.table, false, 9)),
    (x) => exactAttention(x.q, x.k, x.v, { ...relative(x.table, false, 9), causal: true }),
    (x) => exactAttention(x.q, x.k, x.v, { ...relative(x.table, false, 9), queryChunk: 3 }),
    (x) => exactAttention(last(x, 5), x.k, x.v, relative(x.table, false, 9)),
    (x) => exactAttention(last(x, 8), x.k, x.v, relative(x.table, false, 9)),
    ...[0, 3, 12, 14].flatMap((queryStart): Call[] => [
      (x) => exactAttention(last(x, 5), x.k, x.v, { ...relative(x.table, false, 9), queryStart }),
      (x) =>
        exactAttention(last(x, 5), x.k, x.v, { ...relative(x.table, false, 9), causal: true, queryStart }),
      (x) => exactAttention(last(x, 5), x.k, x.v, { causal: true, queryStart }),
    ]),
  ],
  'graphs of attention': [
    (x) => topKAttention(x.q, x.k, x.v, { k: 3 }),
    (x) => topKAttention(x.q, x.k, x.v, { k: 4 }),
    (x) => topKAttention(x.q, x.k, x.v, { k: 3, scale: 0.3 }),
    (x) => topKAttention(x.q, x.k, x.v, { k: 3, scale: -0.3 }),
    (x) => topKAttention(x.q, x.k, x.v, { k: 3, causal: true }),
    (x) => topKAttention(x.q, x.k, x.v, { k: 3, causal: true, dropout: { rate: 0.5, seed: 1 } }),
    (x) => topKAttention(x.q, x.k, x.v, { k: 3, causal: true, dropout: { rate: 0.25, seed: 1 } }),
    (x) => topKAttention(x.q, x.k, x.v, { k: 3, causal: true, dropout: { rate: 0.25, seed: 2 } }),
  ],
  'graphs of feed-forward': (['relu', 'gelu', 'gelu_tanh', 'silu'] as const).flatMap((activation) =>
    (['preactivation', 'contribution'] as const).flatMap((select) =>
      [2, 3].map(
        (k): Call =>
          ({ q, wIn, wOut }) =>
            topKFeedForward(q, { wIn, wOut }, { k, activation, select }),
      ),
    ),
  ),
  'graphs of primitives': [
    ({ wIn }) => transpose(reshape(wIn, [2, 3, 4]), [1, 0, 2]),
    ({ wIn }) => transpose(reshape(wIn, [2, 3, 4]), [1, 2, 0]),
    ({ wIn }) => transpose(reshape(wIn, [3, 2, 4]), [1, 2, 0]),
    ({ wIn }) => slice(wIn, [0, 0], [2, 3]),
    ({ wIn }) => slice(wIn, [1, 0], [2, 3]),
    ({ wIn }) => slice(wIn, [1, 2], [3, 3]),
  ],
};

async function valuesOn(backend: OnnxRuntimeBackend, inputs: Inputs, call: Call): Promise<number[]> {
  expect(inputs.q.backend).toBe(backend);
  return [...(await call(inputs).data())];
}

describe('calls that differ in one thing share nothing that differs', () => {
  for (const [name, calls] of Object.entries(groups)) {
    test(name, async () => {
      const shared = await createOnnxRuntimeBackend({ threads: 1 });
      const sharedInputs = inputsOn(shared);
      // Twice: the second time everything is there already.
      for (const call of [...calls, ...calls]) {
        const fresh = await createOnnxRuntimeBackend({ threads: 1 });
        const expected = await valuesOn(fresh, inputsOn(fresh), call);
        expect(await valuesOn(shared, sharedInputs, call)).toEqual(expected);
        await fresh.dispose();
      }
      await shared.dispose();
    });
  }
});

test.each(['exact', 'top-k'] as const)('the steps of a decoder share their graphs: %s', async (kind) => {
  const backend = await createOnnxRuntimeBackend({ threads: 1 });
  const inputs = inputsOn(backend);
  const step = async (queryStart: number): Promise<void> => {
    const options = { ...relative(inputs.table, false, 9), causal: true, queryStart };
    const query = last(inputs, 1);
    const attended =
      kind === 'exact'
        ? exactAttention(query, inputs.k, inputs.v, options)
        : topKAttention(query, inputs.k, inputs.v, { ...options, k: 3 });
    await attended.data();
  };
  await step(0);
  const { sessionsCompiled } = backend.statistics();
  for (let queryStart = 1; queryStart < 12; queryStart++) await step(queryStart);
  expect(backend.statistics().sessionsCompiled).toBe(sessionsCompiled);
  await backend.dispose();
});

describe('values that the caller may change are looked at anew', () => {
  const causal = (q: Tensor, v: Tensor): Promise<number[]> =>
    exactAttention(q, q, v, { causal: true, scale: 1 })
      .data()
      .then((values) => [...values]);

  test('a borrowed tensor that becomes infinite', async () => {
    const backend = await createOnnxRuntimeBackend({ ort, threads: 1 });
    const own = new ort.Tensor('float32', Float32Array.of(1, 2), [1, 1, 2, 1]);
    const zero = tensor(backend, [0, 0], [1, 1, 2, 1]);
    const v = fromOrt(backend, own);
    expect(await causal(zero, v)).toEqual([1, 1.5]);
    own.data[1] = Number.POSITIVE_INFINITY;
    expect(await causal(zero, v)).toEqual([1, Number.POSITIVE_INFINITY]);
    await backend.dispose();
  });

  test('a tensor that was handed out and comes back changed', async () => {
    const backend = await createOnnxRuntimeBackend({ ort, threads: 1 });
    const zero = tensor(backend, [0, 0], [1, 1, 2, 1]);
    const mine = tensor(backend, [1, 2], [1, 1, 2, 1]);
    expect(await causal(zero, mine)).toEqual([1, 1.5]);
    const out = await toOrt(mine);
    mine.dispose();
    (out.data as Float32Array)[1] = Number.POSITIVE_INFINITY;
    expect(await causal(zero, fromOrt(backend, out))).toEqual([1, Number.POSITIVE_INFINITY]);
    await backend.dispose();
  });

  test('a borrowed table', async () => {
    const backend = await createOnnxRuntimeBackend({ ort, threads: 1 });
    const own = new ort.Tensor('float32', new Float32Array(4), [4, 1]);
    const zero = tensor(backend, [0, 0], [1, 1, 2, 1]);
    const v = tensor(backend, [1, 3], [1, 1, 2, 1]);
    const table = fromOrt(backend, own);
    const attend = (): Promise<number[]> =>
      exactAttention(zero, zero, v, { relativeBias: { table, bidirectional: false, maxDistance: 8 } })
        .data()
        .then((values) => [...values].map((value) => Math.round(value * 1000) / 1000));
    expect(await attend()).toEqual([2, 2]);
    own.data[1] = 50;
    expect(await attend()).toEqual([2, 1]);
    await backend.dispose();
  });
});
