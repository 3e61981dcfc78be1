import { type Backend, exactAttention, type Shape, type Tensor, tensor } from '@topk-attention/core';
import {
  type AttentionGradients,
  type AttentionHalfOptions,
  attentionBackward,
  attentionForward,
  type BackendTensor,
} from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, it } from 'vitest';
import {
  backwardChunk,
  backwardScratchBytes,
  refusesBackward,
} from '../../../src/attention/backward/plan.js';
import { traitsOf } from '../../../src/engine/traits.js';
import { createTfjsBackend, engineOf } from '../../../src/index.js';
import { cpuTf } from '../../support/engines.js';

const tf = await cpuTf();
const own = await createTfjsBackend({ tf });
const reference = createReferenceBackend({ floatStorage: 'f64' });

interface Problem {
  readonly q: Shape;
  readonly keys: Shape;
  readonly valueDim?: number;
  readonly k: number;
  readonly bias?: Shape;
  readonly options?: Partial<AttentionHalfOptions>;
  /** Shape and values of a mask. */
  readonly mask?: { readonly shape: Shape; keeps(at: number): boolean };
  readonly keyLengths?: readonly number[];
  readonly relative?: {
    readonly bidirectional: boolean;
    readonly buckets: number;
    readonly maxDistance: number;
  };
  /** Changes the arrays before they are used. */
  readonly spoil?: (arrays: Record<'q' | 'k' | 'v' | 'dOutput', Float32Array>) => void;
}

function numbers(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const count = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

type Values = Partial<Record<keyof AttentionGradients<Tensor>, ArrayLike<number>>>;

/** Gradients of one backend, from lists of its own forward pass: float64 lists and float32 ones keep the same keys. */
async function gradients(
  backend: Backend<BackendTensor>,
  problem: Problem,
  queryChunk?: number,
): Promise<Values> {
  const { q, keys, valueDim = q[3] as number, k, bias, mask, keyLengths, relative } = problem;
  const values = [...keys.slice(0, 3), valueDim];
  const output = [...q.slice(0, 3), valueDim];
  const arrays = {
    q: numbers(count(q), 1),
    k: numbers(count(keys), 2),
    v: numbers(count(values), 3),
    dOutput: numbers(count(output), 4),
  };
  problem.spoil?.(arrays);
  const inputs = {
    q: tensor(backend, arrays.q, q),
    k: tensor(backend, arrays.k, keys),
    v: tensor(backend, arrays.v, values),
    dOutput: tensor(backend, arrays.dOutput, output),
  };
  const heads = q[1] as number;
  const options: AttentionHalfOptions = {
    k,
    ...problem.options,
    ...(queryChunk !== undefined && { queryChunk }),
    ...(bias && { bias: tensor(backend, numbers(count(bias), 5), bias) }),
    ...(mask && {
      mask: tensor(
        backend,
        Uint8Array.from({ length: count(mask.shape) }, (_, at) => Number(mask.keeps(at))),
        mask.shape,
        'bool',
      ),
    }),
    ...(keyLengths && { keyLengths: tensor(backend, Int32Array.from(keyLengths), [keyLengths.length]) }),
    ...(relative && {
      relativeBias: {
        table: tensor(backend, numbers(relative.buckets * heads, 6), [relative.buckets, heads]),
        bidirectional: relative.bidirectional,
        maxDistance: relative.maxDistance,
      },
    }),
  };
  const lists = attentionForward(inputs.q, inputs.k, inputs.v, options);
  const made = attentionBackward(inputs.q, inputs.k, inputs.v, options, lists, inputs.dOutput);
  const result: Values = {};
  for (const [role, one] of Object.entries(made)) {
    result[role as keyof Values] = Array.from(await one.data());
    expect(one.shape).toEqual(shapeOf(role, inputs, options));
    one.dispose();
  }
  return result;
}

function shapeOf(
  role: string,
  inputs: Record<'q' | 'k' | 'v', Tensor>,
  options: AttentionHalfOptions,
): Shape {
  if (role === 'bias') return options.bias?.shape ?? [];
  if (role === 'relativeTable') return options.relativeBias?.table.shape ?? [];
  return inputs[role as 'q' | 'k' | 'v'].shape;
}

function expectClose(actual: Values, expected: Values, tolerance = 2e-5): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  for (const [role, values] of Object.entries(expected)) {
    const got = actual[role as keyof Values] ?? [];
    expect(got.length, role).toBe(values.length);
    const size = Math.max(
      1,
      ...Array.from(values, (value) => (Number.isFinite(value) ? Math.abs(value) : 0)),
    );
    for (let at = 0; at < values.length; at++) {
      const wanted = values[at] as number;
      const difference = Math.abs((got[at] as number) - wanted);
      const isRight = Number.isNaN(wanted) ? Number.isNaN(got[at]) : difference <= tolerance * size;
      if (!isRight) expect.fail(`${role}[${at}] is ${got[at]}, not ${wanted}`);
    }
  }
}

const problems: Readonly<Record<string, Problem>> = {
  plain: { q: [2, 3, 7, 8], keys: [2, 3, 13, 8], k: 4 },
  'all of one row, k above the keys': { q: [1, 2, 3, 4], keys: [1, 2, 5, 4], k: 9 },
  'values of another width': { q: [1, 2, 6, 8], keys: [1, 2, 9, 8], valueDim: 5, k: 3 },
  'grouped heads': { q: [2, 6, 5, 8], keys: [2, 2, 11, 8], k: 3 },
  'causal, more queries than keys': { q: [1, 2, 9, 4], keys: [1, 2, 6, 4], k: 4, options: { causal: true } },
  'causal, aligned to the end': { q: [1, 2, 4, 4], keys: [1, 2, 9, 4], k: 4, options: { causal: true } },
  'key lengths, one of them zero': { q: [2, 2, 5, 4], keys: [2, 2, 8, 4], k: 3, keyLengths: [0, 5] },
  'a mask with empty rows': {
    q: [2, 2, 5, 4],
    keys: [2, 2, 8, 4],
    k: 3,
    mask: { shape: [2, 1, 5, 8], keeps: (at) => at % 3 === 0 && at >= 8 },
  },
  dropout: { q: [2, 4, 6, 4], keys: [2, 2, 12, 4], k: 5, options: { dropout: { rate: 0.4, seed: 77 } } },
  'much dropout': {
    q: [1, 2, 6, 4],
    keys: [1, 2, 12, 4],
    k: 5,
    options: { dropout: { rate: 0.8, seed: 5 } },
  },
  'a bias for every score': { q: [2, 4, 5, 4], keys: [2, 2, 7, 4], k: 3, bias: [2, 4, 5, 7] },
  'a bias that batches and queries share': { q: [2, 4, 5, 4], keys: [2, 2, 7, 4], k: 3, bias: [1, 4, 1, 7] },
  'a bias that heads share': { q: [2, 4, 5, 4], keys: [2, 2, 7, 4], k: 3, bias: [2, 1, 5, 7] },
  'a bias by query alone': { q: [2, 4, 5, 4], keys: [2, 2, 7, 4], k: 3, bias: [1, 4, 5, 1] },
  'one number as bias': { q: [2, 4, 5, 4], keys: [2, 2, 7, 4], k: 3, bias: [1, 1, 1, 1] },
  'a relative bias, bidirectional': {
    q: [2, 4, 6, 4],
    keys: [2, 2, 9, 4],
    k: 4,
    relative: { bidirectional: true, buckets: 8, maxDistance: 6 },
  },
  'a relative bias, causal': {
    q: [2, 2, 6, 4],
    keys: [2, 2, 6, 4],
    k: 4,
    options: { causal: true },
    relative: { bidirectional: false, buckets: 6, maxDistance: 5 },
  },
  'NaN in rows that no query sees': {
    q: [1, 2, 5, 4],
    keys: [1, 2, 8, 4],
    k: 3,
    keyLengths: [5],
    spoil: ({ k, v }) => {
      for (const rows of [k, v]) rows.fill(Number.NaN, 5 * 4, 8 * 4);
    },
  },
  'NaN in the first key, unused slots elsewhere': {
    q: [1, 1, 6, 4],
    keys: [1, 1, 6, 4],
    k: 4,
    mask: { shape: [1, 1, 6, 6], keeps: (at) => at % 6 !== 0 && at < 30 },
    spoil: ({ k, v }) => {
      for (const rows of [k, v]) rows.fill(Number.NaN, 0, 4);
    },
  },
};

describe('backward pass of top-k attention, against the reference in float64', () => {
  for (const [name, problem] of Object.entries(problems)) {
    // From one tile that holds everything, through heads, to single queries.
    it(`${name}: whatever the tiles`, async () => {
      const expected = await gradients(reference, problem);
      for (const queryChunk of [undefined, 3, 2, 1]) {
        expectClose(await gradients(own, problem, queryChunk), expected);
      }
    });
  }

  it('gives a NaN of a query to the keys it keeps and to no other', async () => {
    const problem: Problem = {
      q: [1, 1, 4, 4],
      keys: [1, 1, 8, 4],
      k: 2,
      mask: { shape: [1, 1, 4, 8], keeps: (at) => at % 8 < 4 === at < 16 },
      spoil: ({ dOutput }) => {
        dOutput.fill(Number.NaN, 0, 4);
      },
    };
    const made = await gradients(own, problem);
    expectClose(made, await gradients(reference, problem));
    expect(Array.from(made.q ?? []).some(Number.isNaN)).toBe(true);
    // Keys of the other half are seen by other queries alone.
    expect(
      Array.from(made.v ?? [])
        .slice(16)
        .some(Number.isNaN),
    ).toBe(false);
  });

  it('gives the same bits twice, and frees what it made', async () => {
    const problem = problems['grouped heads'] as Problem;
    const first = await gradients(own, problem, 2);
    const { numTensors } = tf.memory();
    const again = await gradients(own, problem, 2);
    expect(again).toEqual(first);
    expect(tf.memory().numTensors - numTensors).toBeLessThanOrEqual(8); // inputs and lists of this call
  });
});

describe('its plan', () => {
  const request = {
    batch: 1,
    queryHeads: 12,
    keyHeads: 12,
    queryLength: 8192,
    keyLength: 8192,
    headDim: 64,
    valueDim: 64,
    dtype: 'f32',
    k: 64,
    scale: 1,
    causal: false,
    keyLengths: false,
    saves: true,
  } as const;

  it('takes memory that is linear in the length', () => {
    const bytes = (length: number): number => {
      const long = { ...request, queryLength: length, keyLength: length };
      return backwardScratchBytes(long, backwardChunk(long));
    };
    expect(bytes(32768)).toBeLessThan(4.1 * bytes(8192));
    expect(bytes(8192)).toBeLessThan(2 ** 27);
    expect(backwardScratchBytes(request, 1)).toBeLessThan(bytes(8192));
  });

  it('says what it does not take', () => {
    expect(refusesBackward(engineOf(tf), request)).toEqual([]);
    expect(refusesBackward(engineOf(tf), { ...request, k: 'all' })).toHaveLength(1);
    expect(
      refusesBackward({ ...engineOf(tf), name: 'webgl', traits: traitsOf('webgl') }, request),
    ).toHaveLength(1);
  });

  it('leaves exact attention to the composed pass', async () => {
    const x = tensor(own, numbers(32, 1), [1, 1, 8, 4]);
    expect((await exactAttention(x, x, x).data()).length).toBe(32);
  });
});
