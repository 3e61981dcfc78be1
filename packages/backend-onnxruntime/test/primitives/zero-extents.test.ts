import {
  type Backend,
  type DType,
  exactAttention,
  type Shape,
  sizeOf,
  topKAttention,
  zeros,
} from '@topk-attention/core';
import type { BackendTensor } from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '../../src/index.js';

let backend: OnnxRuntimeBackend;
const oracle = createReferenceBackend();

beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

type Make<T> = (shape: Shape, dtype?: DType) => T;
type Probe = <T extends BackendTensor>(on: Backend<T>, make: Make<T>) => T;

/** Each primitive on tensors some of whose extents are zero. */
const probes: { readonly [name: string]: Probe } = {
  'reshape of a computed tensor': (on, make) => on.reshape(on.unary('exp', make([0, 3])), [3, 0, 2]),
  transpose: (on, make) => on.transpose(make([2, 0, 3]), [2, 0, 1]),
  'slice of nothing': (on, make) => on.slice(make([2, 0, 3]), [1, 0, 0], [1, 0, 2]),
  'slice to nothing': (on, make) => on.slice(make([2, 3]), [1, 3], [1, 0]),
  'concat of nothings': (on, make) => on.concat([make([2, 0]), make([2, 0])], 1),
  'concat with a nothing': (on, make) => on.concat([make([2, 0]), make([2, 3]), make([2, 1])], 1),
  'write nothing': (on, make) => on.writeInto(make([2, 3]), make([2, 0]), [0, 1], false),
  'write into nothing': (on, make) => on.writeInto(make([0, 3]), make([0, 1]), [0, 1], false),
  unary: (on, make) => on.unary('rsqrt', make([0, 3])),
  'binary, broadcast': (on, make) => on.binary('div', make([0, 3], 'i32'), make([1, 3], 'i32')),
  compare: (on, make) => on.compare('lt', make([0, 3]), make([3])),
  isNaN: (on, make) => on.isNaN(make([3, 0])),
  logic: (on, make) => on.logicalAnd(make([3, 0], 'bool'), on.logicalNot(make([3, 1], 'bool'))),
  where: (on, make) => on.where(make([3, 1], 'bool'), make([3, 0]), make([1, 1])),
  cast: (on, make) => on.cast(make([0]), 'i32'),
  'sum of nothing': (on, make) => on.sum(make([2, 0, 3]), [1]),
  'sum of nothing to nothing': (on, make) => on.sum(make([0, 3]), [1]),
  'sum over all': (on, make) => on.sum(make([0, 3], 'i32'), [0, 1]),
  'max of nothing': (on, make) => on.max(make([2, 0]), [1]),
  'max to nothing': (on, make) => on.max(make([0, 3]), [1]),
  'matmul, inner extent 0': (on, make) => on.matmul(make([2, 3, 0]), make([2, 0, 4]), false, false),
  'matmul, inner extent 0, one matrix': (on, make) => on.matmul(make([2, 3, 0]), make([4, 0]), false, true),
  'matmul, batch 0': (on, make) => on.matmul(make([0, 3, 2]), make([0, 2, 4]), false, false),
  'matmul, no rows': (on, make) => on.matmul(make([2, 0]), make([2, 4]), true, false),
  'softmax of empty rows': (on, make) => on.softmax(make([2, 0])),
  'softmax of no rows': (on, make) => on.softmax(make([0, 3])),
  'topK of no rows, values': (on, make) => on.topK(make([0, 3]), 2).values,
  'topK of no rows, indices': (on, make) => on.topK(make([0, 3]), 2).indices,
  'takeAlong nothing': (on, make) => on.takeAlong(make([2, 3]), make([2, 0], 'i32')),
  'takeAlong of no rows': (on, make) => on.takeAlong(make([0, 3]), make([0, 2], 'i32')),
  'putAlong nothing': (on, make) => on.putAlong(make([2, 0], 'i32'), make([2, 0]), 3),
  'putAlong into nothing': (on, make) => on.putAlong(make([2, 0], 'i32'), make([2, 0]), 0),
  'gatherRows, no rows asked for': (on, make) => on.gatherRows(make([2, 3, 4]), make([2, 0], 'i32')),
  'gatherRows, batch 0': (on, make) => on.gatherRows(make([0, 3, 4]), make([0, 2], 'i32')),
  'gatherRows, width 0': (on, make) => on.gatherRows(make([2, 3, 0]), make([2, 2], 'i32')),
  'scatterAddRows, no updates': (on, make) => on.scatterAddRows(3, make([2, 0], 'i32'), make([2, 0, 4])),
  'scatterAddRows, no rows': (on, make) => on.scatterAddRows(0, make([2, 0], 'i32'), make([2, 0, 4])),
  'scatterAddRows, width 0': (on, make) => on.scatterAddRows(3, make([2, 2], 'i32'), make([2, 2, 0])),
  randomBits: (on) => on.randomBits(7, [0, 0, 0, 0], [2, 0]),
  fill: (on) => on.fill(3, [0, 5], 'f32'),
  'of a computed nothing': (on, make) => on.sum(on.matmul(make([3, 0]), make([0, 0]), false, false), [1]),
};

function makeOn<T extends BackendTensor>(on: Backend<T>): Make<T> {
  return (shape, dtype = 'f32') => {
    const values = Array.from({ length: sizeOf(shape) }, (_, index) => index % 2);
    const array = dtype === 'f32' ? Float32Array : dtype === 'i32' ? Int32Array : Uint8Array;
    return on.upload(array.from(values), shape, dtype);
  };
}

async function outcome<T extends BackendTensor>(on: Backend<T>, probe: Probe): Promise<object> {
  const result = probe(on, makeOn(on));
  return { shape: [...result.shape], dtype: result.dtype, values: [...(await on.read(result))] };
}

describe('primitives with extents of zero', () => {
  for (const [name, probe] of Object.entries(probes)) {
    test(name, async () => {
      expect(await outcome(backend, probe)).toEqual(await outcome(oracle, probe));
    });
  }

  test('an inner extent of zero gives zeros', async () => {
    const product = await outcome(backend, probes['matmul, inner extent 0'] as Probe);
    expect(product).toEqual({ shape: [2, 3, 4], dtype: 'f32', values: new Array(24).fill(0) });
  });
});

describe('layers on a batch of nothing', () => {
  const q = () => zeros(backend, [0, 2, 3, 4]);
  const k = () => zeros(backend, [0, 2, 5, 4]);

  test('top-k attention, with lists', async () => {
    const { output, indices } = topKAttention(q(), k(), k(), { k: 2, causal: true, returnIndices: true });
    expect([output.shape, (await output.data()).length]).toEqual([[0, 2, 3, 4], 0]);
    expect([indices.shape, (await indices.data()).length]).toEqual([[0, 2, 3, 2], 0]);
  });

  test('top-k attention over many keys, exact attention, chunks', async () => {
    const many = zeros(backend, [0, 2, 4096, 4]);
    expect((await topKAttention(many, many, many, { k: 2 }).data()).length).toBe(0);
    expect((await exactAttention(q(), k(), k(), { queryChunk: 1 }).data()).length).toBe(0);
  });

  test('feed-forward without tokens', async () => {
    const request = {
      tokens: 0,
      inputDim: 4,
      hidden: 6,
      outputDim: 3,
      dtype: 'f32',
      k: 2,
      activation: 'relu',
      gated: false,
      biasIn: false,
      biasOut: false,
      select: 'preactivation',
      saves: false,
    } as const;
    const make = makeOn(backend);
    const inputs = { x: make([0, 4]), wIn: make([4, 6]), wOut: make([6, 3]) };
    const prepared = backend.fused.feedForward?.prepare(request, backend.capabilities.limits);
    if (prepared === undefined || 'refusals' in prepared) throw new Error('no fused feed-forward');
    const { output } = prepared.run(inputs, 8);
    expect([output.shape, (await backend.read(output)).length]).toEqual([[0, 3], 0]);
  });
});
