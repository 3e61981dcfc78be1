import {
  add,
  concat,
  evaluate,
  exactAttention,
  gatherRows,
  grad,
  matmul,
  putAlong,
  randomBits,
  reshape,
  scatterAddRows,
  scope,
  slice,
  sum,
  type Tensor,
  takeAlong,
  tensor,
  topK,
  topKAttention,
  topKFeedForward,
  transpose,
  where,
  writeInto,
  zeros,
} from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { check, checkRejects, checkThrows } from '../../harness/support/assert.js';
import { bad, type Tools } from './bad.js';

type Shapes = readonly [q: number[], k: number[], v: number[]];
const fitting: Shapes = [
  [2, 4, 3, 5],
  [2, 2, 6, 5],
  [2, 2, 6, 7],
];

function attend(
  t: Tools,
  shapes: Shapes,
  options: Partial<Parameters<typeof topKAttention>[3]> = {},
): unknown {
  const [q, k, v] = shapes.map((shape) => t.zeros(...shape)) as [Tensor, Tensor, Tensor];
  return topKAttention(q, k, v, { k: 2, ...options, returnIndices: true });
}

const shapeErrors: readonly (readonly [name: string, shapes: Shapes, code: string])[] = [
  ['q of rank 3', [[2, 3, 5], fitting[1], fitting[2]], 'RANK_MISMATCH'],
  ['v of rank 5', [fitting[0], fitting[1], [1, 2, 2, 6, 7]], 'RANK_MISMATCH'],
  ['different batches', [[3, 4, 3, 5], fitting[1], fitting[2]], 'SHAPE_MISMATCH'],
  ['different head dims of q and k', [[2, 4, 3, 4], fitting[1], fitting[2]], 'SHAPE_MISMATCH'],
  ['different lengths of k and v', [fitting[0], fitting[1], [2, 2, 5, 7]], 'SHAPE_MISMATCH'],
  ['different heads of k and v', [fitting[0], fitting[1], [2, 4, 6, 7]], 'SHAPE_MISMATCH'],
  ['query heads not a multiple of key heads', [[2, 3, 3, 5], fitting[1], fitting[2]], 'SHAPE_MISMATCH'],
  ['no queries', [[2, 4, 0, 5], fitting[1], fitting[2]], 'EMPTY_SEQUENCE'],
  ['no keys', [fitting[0], [2, 2, 0, 5], [2, 2, 0, 7]], 'EMPTY_SEQUENCE'],
  ['no query heads', [[2, 0, 3, 5], fitting[1], fitting[2]], 'SHAPE_MISMATCH'],
  ['no key heads', [fitting[0], [2, 0, 6, 5], [2, 0, 6, 7]], 'SHAPE_MISMATCH'],
  ['no head dimension', [[2, 4, 3, 0], [2, 2, 6, 0], fitting[2]], 'SHAPE_MISMATCH'],
  ['no value dimension', [fitting[0], fitting[1], [2, 2, 6, 0]], 'SHAPE_MISMATCH'],
];

const badNumbers: readonly (readonly [name: string, options: Parameters<typeof attend>[2], code: string])[] =
  [
    ...[0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY].map(
      (k) => [`k = ${k}`, { k }, 'INVALID_K'] as const,
    ),
    ...[0, -2, 2.5, Number.NaN].map(
      (n) => [`queryChunk = ${n}`, { queryChunk: n }, 'INVALID_OPTION'] as const,
    ),
    ...[Number.NaN, Number.POSITIVE_INFINITY].map(
      (scale) => [`scale = ${scale}`, { scale }, 'INVALID_OPTION'] as const,
    ),
    ...[-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY].flatMap((queryStart) => [
      [`queryStart = ${queryStart}`, { queryStart }, 'INVALID_OPTION'] as const,
      [`causal, queryStart = ${queryStart}`, { causal: true, queryStart }, 'INVALID_OPTION'] as const,
    ]),
    ...[1, -0.1, Number.NaN].map(
      (rate) => [`dropout rate = ${rate}`, { dropout: { rate, seed: 1 } }, 'INVALID_OPTION'] as const,
    ),
    ...[-1, 0.5, 2 ** 53].map(
      (seed) => [`dropout seed = ${seed}`, { dropout: { rate: 0.1, seed } }, 'INVALID_OPTION'] as const,
    ),
    ['a budget of one byte', { budgetBytes: 1 }, 'DOES_NOT_FIT'],
  ];

export const badInputCases: readonly ConformanceCase[] = [
  ...shapeErrors.flatMap(([name, shapes, code]) => [
    bad(`topKAttention, ${name}`, code, (t) => attend(t, shapes)),
    bad(`exactAttention, ${name}`, code, (t) => {
      const [q, k, v] = shapes.map((shape) => t.zeros(...shape)) as [Tensor, Tensor, Tensor];
      return exactAttention(q, k, v);
    }),
  ]),
  ...badNumbers.map(([name, options, code]) =>
    bad(`topKAttention, ${name}`, code, (t) => attend(t, fitting, options)),
  ),
  ...[Number.NaN, Number.NEGATIVE_INFINITY].map((sigmoidShift) =>
    bad(`exactAttention, sigmoidShift = ${sigmoidShift}`, 'INVALID_OPTION', (t) => {
      const [q, k, v] = fitting.map((shape) => t.zeros(...shape)) as [Tensor, Tensor, Tensor];
      return exactAttention(q, k, v, { sigmoidShift });
    }),
  ),
  bad('topKAttention, q of i32', 'DTYPE_MISMATCH', (t) =>
    topKAttention(t.ints(...fitting[0]), t.zeros(...fitting[1]), t.zeros(...fitting[2]), { k: 2 }),
  ),
  bad('topKAttention, a float mask', 'DTYPE_MISMATCH', (t) =>
    attend(t, fitting, { mask: t.zeros(1, 1, 3, 6) }),
  ),
  bad('topKAttention, a mask that does not broadcast', 'SHAPE_MISMATCH', (t) =>
    attend(t, fitting, { mask: t.bools(1, 1, 3, 5) }),
  ),
  bad('topKAttention, a mask of rank 2', ['SHAPE_MISMATCH', 'RANK_MISMATCH'], (t) =>
    attend(t, fitting, { mask: t.bools(3, 6) }),
  ),
  bad('topKAttention, a bias of the key heads', 'SHAPE_MISMATCH', (t) =>
    attend(t, fitting, { bias: t.zeros(1, 2, 3, 6) }),
  ),
  bad('topKAttention, an i32 bias', 'DTYPE_MISMATCH', (t) =>
    attend(t, fitting, { bias: t.ints(1, 1, 3, 6) }),
  ),
  bad('topKAttention, keyLengths of another batch', 'SHAPE_MISMATCH', (t) =>
    attend(t, fitting, { keyLengths: t.ints(3) }),
  ),
  bad('topKAttention, float keyLengths', ['DTYPE_MISMATCH', 'SHAPE_MISMATCH'], (t) =>
    attend(t, fitting, { keyLengths: t.zeros(2) }),
  ),
  bad('topKAttention, a relative table for other heads', 'SHAPE_MISMATCH', (t) =>
    attend(t, fitting, { relativeBias: { table: t.zeros(8, 2), bidirectional: true, maxDistance: 16 } }),
  ),
  ...(
    [
      [3, true, 16],
      [8, true, 2],
      [1, false, 16],
      [8, false, 4],
    ] as const
  ).map(([buckets, bidirectional, maxDistance]) =>
    bad(
      `topKAttention, ${buckets} ${bidirectional ? 'bidirectional' : 'one-sided'} buckets up to ${maxDistance}`,
      'INVALID_OPTION',
      (t) => attend(t, fitting, { relativeBias: { table: t.zeros(buckets, 4), bidirectional, maxDistance } }),
    ),
  ),
  bad('topKAttention, maxDistance 0', 'INVALID_OPTION', (t) =>
    attend(t, fitting, { relativeBias: { table: t.zeros(8, 4), bidirectional: true, maxDistance: 0 } }),
  ),
  ...(
    [
      ['x of rank 1', [5], [5, 8], [8, 3], 'RANK_MISMATCH'],
      ['wIn of another width', [2, 5], [4, 8], [8, 3], 'SHAPE_MISMATCH'],
      ['wOut of another width', [2, 5], [5, 8], [7, 3], 'SHAPE_MISMATCH'],
      ['no input dimension', [2, 0], [0, 8], [8, 3], 'SHAPE_MISMATCH'],
      ['no hidden units', [2, 5], [5, 0], [0, 3], 'SHAPE_MISMATCH'],
      ['no output dimension', [2, 5], [5, 8], [8, 0], 'SHAPE_MISMATCH'],
    ] as const
  ).map(([name, x, wIn, wOut, code]) =>
    bad(`topKFeedForward, ${name}`, code, (t) =>
      topKFeedForward(t.zeros(...x), { wIn: t.zeros(...wIn), wOut: t.zeros(...wOut) }, { k: 2 }),
    ),
  ),
  ...[0, -3, 2.5].map((k) =>
    bad(`topKFeedForward, k = ${k}`, 'INVALID_K', (t) =>
      topKFeedForward(t.zeros(2, 5), { wIn: t.zeros(5, 8), wOut: t.zeros(8, 3) }, { k }),
    ),
  ),
  bad('topKFeedForward, a gate of another width', 'SHAPE_MISMATCH', (t) =>
    topKFeedForward(
      t.zeros(2, 5),
      { wIn: t.zeros(5, 8), wGate: t.zeros(5, 7), wOut: t.zeros(8, 3) },
      { k: 2 },
    ),
  ),
  bad('topKFeedForward, integer weights', 'DTYPE_MISMATCH', (t) =>
    topKFeedForward(t.zeros(2, 5), { wIn: t.ints(5, 8), wOut: t.zeros(8, 3) }, { k: 2 }),
  ),
  bad('tensor, too few numbers', 'SHAPE_MISMATCH', ({ backend }) => tensor(backend, [1, 2, 3], [2, 2])),
  bad('tensor, a negative extent', 'SHAPE_MISMATCH', ({ backend }) => tensor(backend, [], [-1])),
  bad('add, shapes that do not broadcast', 'SHAPE_MISMATCH', (t) => add(t.zeros(2, 3), t.zeros(2))),
  bad('add, f32 and i32', 'DTYPE_MISMATCH', (t) => add(t.zeros(2), t.ints(2))),
  bad('where, a float condition', 'DTYPE_MISMATCH', (t) => where(t.zeros(2), t.zeros(2), t.zeros(2))),
  bad('reshape, another number of elements', 'SHAPE_MISMATCH', (t) => reshape(t.zeros(2, 3), [4])),
  bad('reshape, -1 beside an extent of 0', 'SHAPE_MISMATCH', (t) => reshape(t.zeros(2, 0), [-1, 0])),
  bad('reshape, two extents of -1', 'SHAPE_MISMATCH', (t) => reshape(t.zeros(2, 3), [-1, -1])),
  bad('transpose, not a permutation', 'INVALID_OPTION', (t) => transpose(t.zeros(2, 3), [0, 0])),
  bad('slice, past the end', 'SHAPE_MISMATCH', (t) => slice(t.zeros(4), [3], [2])),
  bad('concat, of nothing', 'INVALID_OPTION', () => concat([], 0)),
  bad('concat, other extents differ', 'SHAPE_MISMATCH', (t) => concat([t.zeros(2, 3), t.zeros(2, 4)], 0)),
  bad('writeInto, past the end', 'SHAPE_MISMATCH', (t) => writeInto(t.zeros(4), t.zeros(2), [3])),
  bad('sum, an axis out of range', 'INVALID_OPTION', (t) => sum(t.zeros(2, 3), { axes: [2] })),
  bad('matmul, inner extents differ', 'SHAPE_MISMATCH', (t) => matmul(t.zeros(2, 3), t.zeros(2, 3))),
  bad('matmul, batches differ', 'SHAPE_MISMATCH', (t) => matmul(t.zeros(2, 2, 3), t.zeros(3, 3, 2))),
  bad('matmul, rank 1', 'RANK_MISMATCH', (t) => matmul(t.zeros(3), t.zeros(3, 2))),
  ...[0, 5, 1.5].map((k) => bad(`topK, k = ${k} of 4`, 'INVALID_K', (t) => topK(t.zeros(2, 4), k))),
  bad('takeAlong, float indices', 'DTYPE_MISMATCH', (t) => takeAlong(t.zeros(2, 3), t.zeros(2, 3))),
  bad('takeAlong, other leading extents', 'SHAPE_MISMATCH', (t) => takeAlong(t.zeros(2, 3), t.ints(3, 3))),
  bad('putAlong, shapes differ', 'SHAPE_MISMATCH', (t) => putAlong(t.ints(2, 3), t.zeros(2, 2), 5)),
  bad('gatherRows, rank 2', ['SHAPE_MISMATCH', 'RANK_MISMATCH'], (t) =>
    gatherRows(t.zeros(2, 3), t.ints(2, 3)),
  ),
  bad('scatterAddRows, shapes differ', 'SHAPE_MISMATCH', (t) =>
    scatterAddRows(3, t.ints(2, 4), t.zeros(2, 3, 1)),
  ),
  bad('randomBits, a negative seed', 'INVALID_OPTION', ({ backend }) => randomBits(backend, -1, [2])),
  bad('grad, of a function that returns no scalar', 'NOT_DIFFERENTIABLE', (t) =>
    grad((x: Tensor) => add(x, 1))(t.zeros(3)),
  ),
  bad('scope, an asynchronous function', 'INVALID_OPTION', () => scope(() => Promise.resolve(1))),
  bad('a disposed tensor', 'DISPOSED', (t) => {
    const x = t.zeros(2);
    x.dispose();
    return add(x, 1);
  }),
  {
    name: 'bad input: data() and evaluate() of a disposed tensor reject',
    group: 'bad input',
    async run({ backend }) {
      const x = zeros(backend, [2]);
      x.dispose();
      x.dispose();
      check(x.isDisposed, 'dispose() twice is fine');
      await checkRejects('data', (async () => x.data())(), 'DISPOSED');
      await checkRejects('evaluate', (async () => evaluate(x))(), 'DISPOSED');
    },
  },
  {
    name: 'bad input: tensors of two backends',
    group: 'bad input',
    async run(context) {
      const other = await context.createBackend();
      const [x, y] = [zeros(context.backend, [2]), zeros(other, [2])];
      checkThrows('add', () => add(x, y), 'MIXED_BACKENDS');
      const q = zeros(context.backend, [1, 1, 2, 2]);
      const k = zeros(other, [1, 1, 2, 2]);
      checkThrows('topKAttention', () => topKAttention(q, k, q, { k: 1 }), 'MIXED_BACKENDS');
      for (const one of [x, y, q, k]) one.dispose();
    },
  },
  {
    name: 'bad input: a dtype that the backend does not have',
    group: 'bad input',
    run({ backend }) {
      if (backend.capabilities.dtypes.includes('f16')) return;
      checkThrows('tensor', () => tensor(backend, new Uint16Array(2), [2]), 'UNSUPPORTED');
      checkThrows('zeros', () => zeros(backend, [2], 'f16'), 'UNSUPPORTED');
    },
  },
];
