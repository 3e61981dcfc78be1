import type {
  AttentionInputs,
  Backend,
  BackendTensor,
  ChosenAttention,
  DeviceLimits,
} from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RelativeWindows } from '../../src/attention/relative-window.js';
import { runAttention } from '../../src/attention/run-chunks.js';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '../../src/index.js';
import { Magnitudes } from '../../src/runtime/inspect.js';
import { Sessions } from '../../src/runtime/sessions.js';

let backend: OnnxRuntimeBackend;
const oracle = createReferenceBackend();

beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

/** Numbers from -0.5 to 0.5, the same on every run. */
function numbers(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
}

const base: ChosenAttention = {
  batch: 2,
  queryHeads: 4,
  keyHeads: 2,
  queryLength: 37,
  keyLength: 203,
  headDim: 8,
  valueDim: 6,
  dtype: 'f32',
  k: 5,
  scale: 8 ** -0.5,
  causal: false,
  keyLengths: false,
  selection: { levels: 1 },
  saves: false,
};

interface Arrays {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  bias?: Float32Array;
  relativeTable?: Float32Array;
}

function arraysOf(request: ChosenAttention): Arrays {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const bias = request.bias?.reduce((size, extent) => size * extent, 1);
  return {
    q: numbers(batch * queryHeads * queryLength * headDim, 1),
    k: numbers(batch * keyHeads * keyLength * headDim, 2),
    v: numbers(batch * keyHeads * keyLength * valueDim, 3),
    ...(bias !== undefined && { bias: numbers(bias, 4) }),
    ...(request.relativeBias && { relativeTable: numbers(request.relativeBias.buckets * queryHeads, 5) }),
  };
}

async function run<T extends BackendTensor>(
  on: Backend<T>,
  request: ChosenAttention,
  arrays: Arrays,
  chunk: number,
): Promise<{ output: number[]; indices?: number[]; scores?: number[] }> {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const { bias, relativeTable } = arrays;
  const mask = request.mask?.reduce((size, extent) => size * extent, 1);
  const inputs: AttentionInputs<T> = {
    q: on.upload(arrays.q, [batch, queryHeads, queryLength, headDim], 'f32'),
    k: on.upload(arrays.k, [batch, keyHeads, keyLength, headDim], 'f32'),
    v: on.upload(arrays.v, [batch, keyHeads, keyLength, valueDim], 'f32'),
    ...(request.mask &&
      mask !== undefined && {
        mask: on.upload(
          Uint8Array.from(numbers(mask, 6), (x) => (x > -0.2 ? 1 : 0)),
          request.mask,
          'bool',
        ),
      }),
    ...(request.keyLengths && {
      keyLengths: on.upload(
        Int32Array.from({ length: batch }, (_, entry) => (entry === 0 ? 150 : 3)),
        [batch],
        'i32',
      ),
    }),
    ...(bias && request.bias && { bias: on.upload(bias, request.bias, 'f32') }),
    ...(relativeTable &&
      request.relativeBias && {
        relativeTable: on.upload(relativeTable, [request.relativeBias.buckets, queryHeads], 'f32'),
      }),
  };
  const { selection } = request;
  const limits: DeviceLimits = {
    ...on.capabilities.limits,
    twoLevel: selection.levels === 1 ? null : { minKeys: 1, blockSize: selection.blockSize },
  };
  const prepared = on.fused?.attention?.prepare(request, limits);
  if (prepared === undefined || 'refusals' in prepared) throw new Error('no fused attention');
  const made = prepared.run(inputs, chunk);
  const output = [...(await on.read(made.output))];
  const indices = made.indices && [...(await on.read(made.indices))];
  const scores = made.scores && [...(await on.read(made.scores))];
  for (const one of [...Object.values(inputs), ...Object.values(made)]) if (one) on.release(one);
  return { output, ...(indices && { indices }), ...(scores && { scores }) };
}

function expectClose(got: readonly number[] | undefined, expected: readonly number[] | undefined): void {
  expect(got?.length).toBe(expected?.length);
  const differing = (got ?? []).filter((value, at) => {
    const other = expected?.[at] as number;
    return !(Object.is(value, other) || Math.abs(value - other) <= 2e-5 || value === other);
  });
  expect(differing).toEqual([]);
}

const twoLevel = { levels: 2, blockSize: 16 } as const;
/** So many that their maxima are first compared in groups. */
const manyBlocks = { levels: 2, blockSize: 4 } as const;
const relativeBias = { bidirectional: true, maxDistance: 64, buckets: 16 };
const requests: { readonly [name: string]: Partial<ChosenAttention> } = {
  'top-k': {},
  'blocks with a rest': { selection: twoLevel },
  'blocks without a rest': { selection: twoLevel, keyLength: 192 },
  exact: { k: 'all' },
  'causal, more queries than keys': { causal: true, queryLength: 61, keyLength: 40 },
  'groups of blocks': { selection: manyBlocks, keyLength: 1120 },
  'groups of blocks, and blocks and keys in none': { selection: manyBlocks, keyLength: 1123 },
  'groups of blocks, fewer valid keys than kept': {
    selection: manyBlocks,
    keyLength: 1123,
    keyLengths: true,
  },
  'groups of blocks, causal': { selection: manyBlocks, causal: true, queryLength: 61, keyLength: 323 },
  'causal blocks': { causal: true, queryLength: 203, selection: twoLevel },
  'causal exact': { causal: true, k: 'all', queryLength: 203 },
  'key lengths, blocks': { keyLengths: true, selection: twoLevel },
  'key lengths, exact': { keyLengths: true, k: 'all' },
  'full mask, blocks': { mask: [2, 4, 37, 203], selection: twoLevel },
  'mask of queries': { mask: [1, 1, 37, 1] },
  'mask of keys, blocks': { mask: [2, 1, 1, 203], selection: twoLevel },
  'bias, blocks': { bias: [1, 4, 37, 203], selection: twoLevel },
  'bias of keys, exact': { bias: [2, 1, 1, 203], k: 'all' },
  'relative bias, blocks': { relativeBias, selection: twoLevel },
  'relative bias, exact': { relativeBias, k: 'all' },
  'relative bias, causal, blocks': {
    relativeBias: { ...relativeBias, bidirectional: false },
    causal: true,
    queryLength: 100,
    selection: twoLevel,
  },
  'relative bias, causal, more queries than keys': {
    relativeBias,
    causal: true,
    queryLength: 61,
    keyLength: 40,
  },
  'causal blocks, spare keys': { causal: true, queryStart: 90, selection: twoLevel },
  'causal exact, spare keys': { causal: true, queryStart: 90, k: 'all' },
  'relative bias, causal, spare keys, blocks': {
    relativeBias,
    causal: true,
    queryStart: 90,
    selection: twoLevel,
  },
  'relative bias, queries behind the keys': { relativeBias, queryStart: 210, k: 'all' },
  'relative bias, causal, one query of a cache': {
    relativeBias: { ...relativeBias, bidirectional: false },
    causal: true,
    queryLength: 1,
    queryStart: 150,
  },
  everything: {
    relativeBias,
    causal: true,
    keyLengths: true,
    mask: [2, 1, 37, 203],
    bias: [1, 4, 1, 203],
    selection: twoLevel,
  },
  'scale of its own': { scale: -0.3, selection: twoLevel },
  'scale of a power of two above 1': { scale: 4, bias: [1, 4, 37, 203] },
  dropout: { dropout: { rate: 0.4, seed: 7 }, selection: twoLevel },
  'k of all keys': { k: 203 },
  'k of one': { k: 1, selection: twoLevel },
};

describe('fused attention equals the reference', () => {
  for (const [name, options] of Object.entries(requests)) {
    for (const chunk of [1000, 16, 7]) {
      for (const saves of [false, true]) {
        const request = { ...base, ...options, saves };
        if (saves && request.k === 'all') continue;
        test(`${name}, chunk ${chunk}${saves ? ', lists' : ''}`, async () => {
          const arrays = arraysOf(request);
          const got = await run(backend, request, arrays, chunk);
          const expected = await run(oracle, request, arrays, chunk);
          expectClose(got.output, expected.output);
          expectClose(got.indices, expected.indices);
          expectClose(got.scores, expected.scores);
        });
      }
    }
  }
});

describe('relative biases made in the graph, as for windows that would be too large', () => {
  for (const [name, request] of Object.entries(requests)) {
    if (request.relativeBias === undefined) continue;
    test(name, async () => {
      const { mask: _mask, bias: _bias, ...options } = request;
      const asked: ChosenAttention = { ...base, ...options, keyLengths: false };
      const { q, k, v, relativeTable } = arraysOf(asked);
      const f32 = (values: Float32Array | undefined, dims: number[]) =>
        new ort.Tensor('float32', values ?? new Float32Array(), dims);
      const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = asked;
      const feeds = new Map([
        ['q', f32(q, [batch, queryHeads, queryLength, headDim])],
        ['k', f32(k, [batch, keyHeads, keyLength, headDim])],
        ['v', f32(v, [batch, keyHeads, keyLength, valueDim])],
        ['table', f32(relativeTable, [relativeBias.buckets, queryHeads])],
      ]);
      const limits = { count: 8, arenaBytes: 2 ** 28 };
      const runtime = {
        ort,
        sessions: new Sessions(ort, { intraOpNumThreads: 1 }, limits),
        magnitudes: new Magnitudes(),
        windows: new RelativeWindows(ort),
        largestWindowBytes: 0,
        isBorrowed: () => true,
      };
      const [output] = await runAttention(runtime, asked, feeds, 16);
      const expected = await run(oracle, asked, arraysOf(asked), 16);
      expectClose(Array.from((output?.data ?? []) as ArrayLike<number>), expected.output);
    });
  }
});

test('queries that overflow when they are scaled, although their scores do not', async () => {
  const request: ChosenAttention = { ...base, scale: 4, saves: true };
  const { q, k, v } = arraysOf(request);
  const arrays = { q: q.map((one) => one * 6e38), k: k.map((one) => one * 1e-38), v };
  expect(arrays.q.every(Number.isFinite) && !arrays.q.map((one) => 4 * one).every(Number.isFinite)).toBe(
    true,
  );
  const [own, expected] = [await run(backend, request, arrays, 16), await run(oracle, request, arrays, 16)];
  expect(own.indices).toEqual(expected.indices);
  expectClose(own.output, expected.output);
});

describe('fused attention and values that are not numbers', () => {
  const poisons: { readonly [name: string]: (arrays: Arrays) => void } = {
    'NaN in a query': ({ q }) => {
      q[19] = Number.NaN;
    },
    'NaN in a key': ({ k }) => {
      k[8 * 100 + 3] = Number.NaN;
    },
    'NaN in a value row': ({ v }) => {
      v[6 * 100 + 3] = Number.NaN;
    },
    'infinity in a value row': ({ v }) => {
      v[6 * 30] = Number.POSITIVE_INFINITY;
    },
    'infinity in a key': ({ k }) => {
      k[8 * 60] = Number.POSITIVE_INFINITY;
    },
  };
  for (const [name, poison] of Object.entries(poisons)) {
    for (const options of [
      { selection: twoLevel, saves: true },
      { causal: true, queryLength: 203, selection: twoLevel, saves: true },
      { keyLengths: true },
    ]) {
      test(`${name}, ${JSON.stringify(options)}`, async () => {
        const request = { ...base, ...options };
        const arrays = arraysOf(request);
        poison(arrays);
        const got = await run(backend, request, arrays, 16);
        const expected = await run(oracle, request, arrays, 16);
        expectClose(got.output, expected.output);
        expectClose(got.scores, expected.scores);
      });
    }
  }

  test('a -inf bias is a mask, and no reason for the careful graph to differ', async () => {
    const request = { ...base, bias: [1, 4, 37, 203], selection: twoLevel, saves: true };
    const arrays = arraysOf(request);
    arrays.bias?.fill(Number.NEGATIVE_INFINITY, 203 * 3, 203 * 5 - 2);
    const got = await run(backend, request, arrays, 16);
    const expected = await run(oracle, request, arrays, 16);
    expectClose(got.output, expected.output);
    expectClose(got.indices, expected.indices);
  });
});

for (const saves of [true, false]) {
  for (const [name, options] of Object.entries({
    plain: {},
    causal: { causal: true, queryLength: 203 },
    lengths: { keyLengths: true },
    groups: { keyLength: 1123, selection: manyBlocks },
  })) {
    test(`ties go to the lower key, with blocks too: ${name}${saves ? ', lists' : ''}`, async () => {
      const request = { ...base, selection: twoLevel, ...options, saves, scale: 1 };
      const arrays = arraysOf(request);
      for (const array of [arrays.q, arrays.k]) {
        for (let at = 0; at < array.length; at++) array[at] = Math.round((array[at] as number) * 2);
      }
      const got = await run(backend, request, arrays, 16);
      const expected = await run(oracle, request, arrays, 16);
      expectClose(got.output, expected.output);
      expect(got.indices).toEqual(expected.indices);
    });
  }
}

describe('what crosses into JavaScript', () => {
  for (const k of [5, 'all'] as const) {
    test(`k ${k}: one run per query chunk, one session for all, output bytes only`, async () => {
      const request = { ...base, k, queryLength: 100, selection: twoLevel };
      const before = backend.statistics();
      await run(backend, request, arraysOf(request), 16);
      const after = backend.statistics();
      const chunks = Math.ceil(100 / 16);
      expect(after.runs - before.runs).toBe(chunks);
      expect(after.sessionsCompiled - before.sessionsCompiled).toBe(1);
      expect(after.bytesOut - before.bytesOut).toBe(chunks * 16 * 2 * 4 * 6 * 4);
    });
  }

  test('another length of the same chunk and structure, another offset: no new session', async () => {
    const request = { ...base, queryLength: 96, causal: true, selection: twoLevel };
    const arrays = arraysOf(request);
    await run(backend, request, arrays, 32);
    const before = backend.statistics().sessionsCompiled;
    await run(backend, request, arraysOf(request), 32);
    expect(backend.statistics().sessionsCompiled).toBe(before);
  });
});
