import {
  type AttentionOptions,
  type Backend,
  exactAttention,
  pullback,
  type Shape,
  scope,
  type Tensor,
  tensor,
  topKAttention,
} from '@topk-attention/core';
import type { AttentionInputs, AttentionRequest, BackendTensor } from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTfjsBackend, type Tf, type TfjsBackend } from '../../src/index.js';

const oracle = createReferenceBackend();

/** Numbers from -0.5 to 0.5, the same on every run. */
function numbers(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
}

const base: AttentionRequest = {
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
  saves: false,
};

interface Arrays {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  bias?: Float32Array;
  relativeTable?: Float32Array;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, extent) => size * extent, 1);

function arraysOf(request: AttentionRequest): Arrays {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  return {
    q: numbers(batch * queryHeads * queryLength * headDim, 1),
    k: numbers(batch * keyHeads * keyLength * headDim, 2),
    v: numbers(batch * keyHeads * keyLength * valueDim, 3),
    ...(request.bias && { bias: numbers(sizeOf(request.bias), 4) }),
    ...(request.relativeBias && { relativeTable: numbers(request.relativeBias.buckets * queryHeads, 5) }),
  };
}

interface Results {
  readonly output: number[];
  readonly indices?: number[];
  readonly scores?: number[];
}

async function run<T extends BackendTensor>(
  on: Backend<T>,
  request: AttentionRequest,
  arrays: Arrays,
  chunk: number,
): Promise<Results> {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const { bias, relativeTable } = arrays;
  const inputs: AttentionInputs<T> = {
    q: on.upload(arrays.q, [batch, queryHeads, queryLength, headDim], 'f32'),
    k: on.upload(arrays.k, [batch, keyHeads, keyLength, headDim], 'f32'),
    v: on.upload(arrays.v, [batch, keyHeads, keyLength, valueDim], 'f32'),
    ...(request.mask && {
      mask: on.upload(
        Uint8Array.from(numbers(sizeOf(request.mask), 6), (x) => (x > -0.2 ? 1 : 0)),
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
  const fused = on.fused?.attention;
  if (fused === undefined) throw new Error('no fused attention');
  const prepared = fused.prepare(request, on.capabilities.limits);
  if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
  const made = prepared.run(inputs, chunk);
  const output = [...(await on.read(made.output))];
  const indices = made.indices && [...(await on.read(made.indices))];
  const scores = made.scores && [...(await on.read(made.scores))];
  for (const one of [...Object.values(inputs), ...Object.values(made)]) if (one) on.release(one);
  return { output, ...(indices && { indices }), ...(scores && { scores }) };
}

function expectClose(got: readonly number[] | undefined, expected: readonly number[] | undefined): void {
  expect(got?.length).toBe(expected?.length);
  const differing = (got ?? []).flatMap((value, at) => {
    const other = expected?.[at] as number;
    const isClose =
      Object.is(value, other) ||
      value === other ||
      Math.abs(value - other) <= 2e-5 * Math.max(1, Math.abs(other));
    return isClose ? [] : [{ at, value, other }];
  });
  expect(differing.slice(0, 8)).toEqual([]);
}

/** Rows that hold something not finite are to do so too; what exactly, and which keys they list, is not agreed on. */
function expectLoud(got: Results, expected: Results, valueDim: number, k: number | 'all'): void {
  const loud = new Set(
    expected.output.flatMap((x, at) => (Number.isFinite(x) ? [] : [Math.floor(at / valueDim)])),
  );
  const quiet = (values: readonly number[] | undefined, width: number): number[] | undefined =>
    values?.filter((_, at) => !loud.has(Math.floor(at / width)));
  const silent = [...loud].filter((row) =>
    got.output.slice(row * valueDim, (row + 1) * valueDim).every(Number.isFinite),
  );
  expect(silent).toEqual([]);
  expectClose(quiet(got.output, valueDim), quiet(expected.output, valueDim));
  if (k === 'all') return;
  expectClose(quiet(got.indices, k), quiet(expected.indices, k));
  expectClose(got.scores, expected.scores);
}

const relativeBias = { bidirectional: true, maxDistance: 64, buckets: 16 };
/** From 160 keys on with k 5, blocks of 16; from 320 on, blocks of 32. */
const requests: { readonly [name: string]: Partial<AttentionRequest> } = {
  'top-k': {},
  'too few keys for blocks': { keyLength: 97 },
  'larger blocks with a rest': { keyLength: 333 },
  'larger blocks without a rest': { keyLength: 352 },
  'as many keys as one query': { keyLength: 352, queryLength: 1 },
  exact: { k: 'all' },
  'causal, more queries than keys': { causal: true, queryLength: 61, keyLength: 40 },
  'causal, blocks': { causal: true, queryLength: 203 },
  'causal, larger blocks, fewer queries': { causal: true, queryLength: 80, keyLength: 401 },
  'causal, exact': { causal: true, k: 'all', queryLength: 203 },
  'causal, exact, more queries than keys': { causal: true, k: 'all', queryLength: 61, keyLength: 40 },
  'key lengths': { keyLengths: true },
  'key lengths, causal, blocks': { keyLengths: true, causal: true, keyLength: 352 },
  'key lengths, exact': { keyLengths: true, k: 'all' },
  'full mask': { mask: [2, 4, 37, 203] },
  'mask of queries': { mask: [1, 1, 37, 1] },
  'mask of queries, exact': { mask: [1, 1, 37, 1], k: 'all' },
  'mask of keys': { mask: [2, 1, 1, 203] },
  'mask, causal': { mask: [1, 4, 1, 203], causal: true, queryLength: 203 },
  bias: { bias: [1, 4, 37, 203] },
  'bias of keys, exact': { bias: [2, 1, 1, 203], k: 'all' },
  'relative bias': { relativeBias },
  'relative bias, exact': { relativeBias, k: 'all' },
  'relative bias, causal': {
    relativeBias: { ...relativeBias, bidirectional: false },
    causal: true,
    queryLength: 100,
  },
  everything: {
    relativeBias,
    causal: true,
    keyLengths: true,
    mask: [2, 1, 37, 203],
    bias: [1, 4, 1, 203],
    dropout: { rate: 0.3, seed: 2 ** 40 + 5 },
  },
  'scale of its own': { scale: -0.3 },
  'scale of a power of two': { scale: 0.25 },
  'scale of a power of two above 1': { scale: 4, bias: [1, 4, 37, 203] },
  'scale of zero': { scale: 0 },
  dropout: { dropout: { rate: 0.4, seed: 7 } },
  'k of all keys': { k: 203 },
  'k of one': { k: 1, keyLength: 65 },
};

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
  'numbers that are too large to be sure of': ({ q, k }) => {
    q[8 * 20] = 3e16;
    k[8 * 60] = 3e16;
  },
};

/** Fused attention of an engine beside the reference: every option, ties, few valid keys, NaN and infinities. */
export function attentionCases(load: () => Promise<Tf>): void {
  let tf: Tf;
  let backend: TfjsBackend;
  beforeAll(async () => {
    tf = await load();
    backend = await createTfjsBackend({ tf });
  });
  afterAll(() => backend.dispose());

  describe('fused attention equals the reference', () => {
    for (const [name, options] of Object.entries(requests)) {
      test(name, async () => {
        for (const saves of [true, false]) {
          const request = { ...base, ...options, saves };
          if (saves && request.k === 'all') continue;
          const arrays = arraysOf(request);
          const expected = await run(oracle, request, arrays, request.queryLength);
          for (const chunk of saves ? [1000, 16] : [7, 1]) {
            const got = await run(backend, request, arrays, chunk);
            expectClose(got.output, expected.output);
            expectClose(got.indices, expected.indices);
            expectClose(got.scores, expected.scores);
          }
        }
      });
    }
  });

  describe('fused attention and values that are not numbers', () => {
    for (const [name, poison] of Object.entries(poisons)) {
      test(name, async () => {
        for (const options of [
          { saves: true },
          { causal: true, queryLength: 203, saves: true },
          { keyLengths: true },
          { mask: [2, 1, 1, 203] as const, saves: true },
          { k: 'all' as const },
          { k: 'all' as const, causal: true, queryLength: 203 },
          { k: 'all' as const, mask: [2, 1, 1, 203] as const },
        ]) {
          const request: AttentionRequest = { ...base, ...options };
          const arrays = arraysOf(request);
          poison(arrays);
          const got = await run(backend, request, arrays, 16);
          const expected = await run(oracle, request, arrays, request.queryLength);
          expectLoud(got, expected, request.valueDim, request.k);
        }
      });
    }

    test('a bias of -inf hides keys, of NaN and +inf makes rows NaN', async () => {
      for (const [value, k] of [
        [Number.NEGATIVE_INFINITY, 5],
        [Number.NEGATIVE_INFINITY, 'all'],
        [Number.NaN, 5],
        [Number.NaN, 'all'],
        [Number.POSITIVE_INFINITY, 5],
      ] as const) {
        const request: AttentionRequest = { ...base, k, bias: [1, 4, 37, 203], saves: k !== 'all' };
        const arrays = arraysOf(request);
        arrays.bias?.fill(value, 203 * 3, 203 * 5 - 2);
        const got = await run(backend, request, arrays, 16);
        const expected = await run(oracle, request, arrays, 37);
        expectLoud(got, expected, request.valueDim, k);
      }
    });
  });

  describe('what a query does not see, and what is no number', () => {
    const NAN = Number.NaN;
    const INF = Number.POSITIVE_INFINITY;
    const of = (shape: Shape, ...data: number[]): Tensor => tensor(backend, data, shape);
    const rows = (width: number, ...data: number[]): Tensor =>
      of([1, 1, data.length / width, width], ...data);
    const flags = (...data: number[]): Tensor =>
      tensor(backend, Uint8Array.from(data), [1, 1, 1, data.length]);
    const one = (): Tensor => rows(1, 1);
    const table = (...data: number[]): NonNullable<AttentionOptions['relativeBias']> => ({
      table: of([data.length, 1], ...data),
      bidirectional: true,
      maxDistance: 8,
    });

    test.each<[string, () => Tensor, number[]]>([
      [
        'a key of score -inf hides its NaN',
        () => exactAttention(one(), rows(1, 0, -INF), rows(1, 1, NAN)),
        [1],
      ],
      [
        'a table of -inf hides the NaN of its keys',
        () =>
          exactAttention(rows(1, 0, 0), rows(1, 0, 0), rows(1, 1, NAN), {
            relativeBias: table(0, 0, -INF, -INF),
          }),
        [1, NAN],
      ],
      [
        'infinity stays in its column under a mask',
        () => exactAttention(rows(1, 0), rows(1, 0), rows(2, INF, 2), { mask: flags(1) }),
        [INF, 2],
      ],
      [
        'infinity stays in its column in a causal call',
        () => exactAttention(rows(1, 0, 0), rows(1, 0, 0), rows(2, 3, 1, INF, 3), { causal: true }),
        [3, 1, INF, 2],
      ],
      [
        'infinities of both signs are NaN together',
        () => exactAttention(rows(1, 0), rows(1, 0, 0, 0), rows(1, INF, -INF, 7), { mask: flags(1, 1, 0) }),
        [NAN],
      ],
      [
        'a hidden infinity is nothing',
        () => exactAttention(rows(1, 0), rows(1, 0, 0), rows(2, 4, 5, INF, NAN), { mask: flags(1, 0) }),
        [4, 5],
      ],
      [
        'scores that a scale makes infinite are NaN, also where keys are hidden',
        () => exactAttention(rows(1, 10, 10), rows(1, 10, 10), rows(1, 1, 2), { causal: true, scale: 1e38 }),
        [NAN, NAN],
      ],
      [
        'queries that overflow when they are scaled, although their scores do not',
        () => topKAttention(rows(1, 2e38), rows(1, 1e-37, 0), rows(1, 3, 5), { k: 1, scale: 4 }),
        [3],
      ],
      [
        'scores that overflow are NaN, also where keys are hidden',
        () =>
          exactAttention(rows(1, 1e20, 1e20), rows(1, 1e20, 1e20), rows(1, 1, 2), { causal: true, scale: 1 }),
        [NAN, NAN],
      ],
    ])('%s', async (_name, make, expected) => {
      const made = scope(make);
      expect([...(await made.data())]).toEqual(expected);
      made.dispose();
    });

    test('a row that sees nothing has gradients of zeros, whatever its own gradient', async () => {
      const made = scope(() => {
        const inputs = { q: rows(1, 2, NAN), k: rows(1, 1, 3), v: rows(1, 1, 2) };
        const mask = tensor(backend, Uint8Array.of(1, 1, 0, 0), [1, 1, 2, 2]);
        const pulled = pullback(
          ({ q, k, v }: typeof inputs) => topKAttention(q, k, v, { k: 2, scale: 1, mask }),
          inputs,
        );
        return pulled.backward(rows(1, 1, INF));
      });
      const [q, k, v] = await Promise.all([made.q, made.k, made.v].map(async (x) => [...(await x.data())]));
      expect(q?.[1]).toBe(0);
      for (const values of [q, k, v]) expect(values?.every(Number.isFinite)).toBe(true);
    });
  });

  describe('ties go to the lower key', () => {
    const kinds: { readonly [name: string]: (array: Float32Array) => void } = {
      'a few values': (array) => {
        for (let at = 0; at < array.length; at++) array[at] = Math.round((array[at] as number) * 2);
      },
      'all equal': (array) => {
        array.fill(1);
      },
      'keys that come twice': (array) => {
        array.copyWithin(array.length / 2, 0, array.length / 2);
      },
    };
    for (const [name, spoil] of Object.entries(kinds)) {
      test(name, async () => {
        for (const keyLength of [97, 160, 203, 352, 1123]) {
          for (const options of [
            {},
            { causal: true, queryLength: Math.min(keyLength, 203) },
            { keyLengths: true },
            // No power of two: scaling the queries first would round equal products apart.
            { scale: 0.7 },
          ]) {
            const request: AttentionRequest = { ...base, scale: 1, ...options, keyLength, saves: true };
            const arrays = arraysOf(request);
            if (name !== 'keys that come twice') spoil(arrays.q);
            spoil(arrays.k);
            const got = await run(backend, request, arrays, 32);
            const expected = await run(oracle, request, arrays, request.queryLength);
            if (name !== 'keys that come twice') expect(got.indices).toEqual(expected.indices);
            expectClose(got.output, expected.output);
          }
        }
      });
    }
  });

  test('every k around the edges of blocks', async () => {
    for (const keyLength of [31, 32, 33, 64, 127, 130]) {
      for (const k of [1, 2, 3, 4, 8, 15, 16, 17, 31, 32, keyLength - 1, keyLength]) {
        if (k > keyLength) continue;
        const request: AttentionRequest = { ...base, batch: 1, queryLength: 9, keyLength, k, saves: true };
        const arrays = arraysOf(request);
        const got = await run(backend, request, arrays, 5);
        const expected = await run(oracle, request, arrays, 9);
        expect(got.indices).toEqual(expected.indices);
        expectClose(got.output, expected.output);
      }
    }
  });

  test('no tensor of a call outlives it', async () => {
    const request: AttentionRequest = { ...base, causal: true, relativeBias, saves: true };
    const arrays = arraysOf(request);
    await run(backend, request, arrays, 16);
    const before = tf.memory().numTensors;
    await run(backend, request, arrays, 16);
    await run(backend, { ...request, k: 'all', saves: false }, arrays, 16);
    expect(tf.memory().numTensors).toBe(before);
  });
}
