import {
  type Backend,
  broadcastTo,
  concat,
  crossEntropy,
  exactAttention,
  grad,
  layerNorm,
  matmul,
  maxOver,
  mean,
  reshape,
  rmsNorm,
  scope,
  sum,
  Tensor,
  tensor,
  topKAttention,
  topKFeedForward,
  zeros,
} from '@topk-attention/core';
import {
  attentionBackward,
  attentionForward,
  feedForwardBackward,
  feedForwardForward,
} from '@topk-attention/core/backend';
import type { ConformanceCase } from '../../harness/case.js';
import { check, checkEqual, checkShape } from '../../harness/support/assert.js';
import type { Nd } from '../../harness/support/nd.js';
import { primitiveCase } from './primitive-case.js';

const INF = Number.POSITIVE_INFINITY;
const empty = (...shape: number[]): Nd => ({ shape, data: [] });
const filled = (value: number, ...shape: number[]): Nd => ({
  shape,
  data: new Array<number>(shape.reduce((size, extent) => size * extent, 1)).fill(value),
});

/** What ops give: one tensor, or several by name. */
type Made = Tensor | Readonly<Record<string, Tensor | undefined>>;
type Expected = Readonly<Record<string, { readonly shape: readonly number[]; readonly value?: number }>>;

/** Every tensor that `make` gives has its shape, and is full of one value (0 unless given). */
function zeroCase(name: string, expected: Expected, make: (backend: Backend) => Made): ConformanceCase {
  return {
    name: `zero extents: ${name}`,
    group: 'primitives',
    async run({ backend }) {
      const before = backend.memory().live;
      const made = scope(() => make(backend));
      const named = made instanceof Tensor ? { output: made } : made;
      for (const [what, { shape, value = 0 }] of Object.entries(expected)) {
        const one = named[what];
        check(one !== undefined, `${what} is missing`);
        checkShape(what, one.shape, shape);
        const values = await one.data();
        const size = shape.reduce((product, extent) => product * extent, 1);
        checkEqual(what, values, new Array<number>(size).fill(value));
      }
      for (const one of Object.values(named)) one?.dispose();
      check(backend.memory().live === before, `${backend.memory().live - before} bytes are left`);
    },
  };
}

const primitives: readonly ConformanceCase[] = [
  primitiveCase('zero extents: upload, fill, reshape, transpose, slice, concat, writeInto', async (bench) => {
    const { backend } = bench;
    const x = bench.upload(empty(0, 3));
    await bench.expect(backend.fill(1, [2, 0], 'f32'), empty(2, 0));
    await bench.expect(backend.reshape(x, [3, 0, 2]), empty(3, 0, 2));
    await bench.expect(backend.transpose(x, [1, 0]), empty(3, 0));
    const full = bench.upload(filled(5, 2, 3));
    await bench.expect(backend.slice(full, [1, 3], [1, 0]), empty(1, 0));
    await bench.expect(backend.concat([x, full, x], 0), filled(5, 2, 3));
    await bench.expect(backend.concat([x, x], 1), empty(0, 6));
    await bench.expect(backend.writeInto(full, x, [2, 0], false), filled(5, 2, 3));
  }),
  primitiveCase('zero extents: elementwise and broadcasting', async (bench) => {
    const { backend } = bench;
    const [x, row, one] = [bench.upload(empty(0, 3)), bench.upload(filled(2, 3)), bench.upload(filled(2, 1))];
    const flags = bench.upload(empty(0, 3), 'bool');
    await bench.expect(backend.unary('exp', x), empty(0, 3));
    await bench.expect(backend.binary('add', x, row), empty(0, 3));
    await bench.expect(backend.binary('mul', one, x), empty(0, 3));
    await bench.expect(backend.compare('lt', x, one), empty(0, 3), { dtype: 'bool' });
    await bench.expect(backend.isNaN(x), empty(0, 3), { dtype: 'bool' });
    await bench.expect(backend.logicalAnd(flags, flags), empty(0, 3), { dtype: 'bool' });
    await bench.expect(backend.logicalNot(flags), empty(0, 3), { dtype: 'bool' });
    await bench.expect(backend.where(flags, x, one), empty(0, 3));
    await bench.expect(backend.cast(x, 'i32'), empty(0, 3), { dtype: 'i32' });
  }),
  primitiveCase('zero extents: sum is 0 and max is -inf over nothing', async (bench) => {
    const { backend } = bench;
    const x = bench.upload(empty(2, 0, 3));
    await bench.expect(backend.sum(x, [1]), filled(0, 2, 1, 3));
    await bench.expect(backend.max(x, [1]), filled(-INF, 2, 1, 3));
    await bench.expect(backend.sum(x, [0, 1, 2]), filled(0, 1, 1, 1));
    await bench.expect(backend.max(x, [0, 1, 2]), filled(-INF, 1, 1, 1));
    await bench.expect(backend.sum(x, [0]), empty(1, 0, 3));
    await bench.expect(backend.max(x, [2]), empty(2, 0, 1));
  }),
  ...[false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) =>
      primitiveCase(
        `zero extents: matmul${transposeA ? ', a transposed' : ''}${transposeB ? ', b transposed' : ''}`,
        async (bench) => {
          const product = (batchA: number[], batchB: number[], m: number, k: number, n: number) =>
            bench.backend.matmul(
              bench.upload(filled(1, ...batchA, ...(transposeA ? [k, m] : [m, k]))),
              bench.upload(filled(1, ...batchB, ...(transposeB ? [n, k] : [k, n]))),
              transposeA,
              transposeB,
            );
          await bench.expect(product([], [], 2, 0, 3), filled(0, 2, 3));
          await bench.expect(product([2], [2], 2, 0, 3), filled(0, 2, 2, 3));
          await bench.expect(product([2], [], 2, 0, 3), filled(0, 2, 2, 3));
          await bench.expect(product([], [2], 2, 0, 3), filled(0, 2, 2, 3));
          await bench.expect(product([], [], 0, 4, 3), empty(0, 3));
          await bench.expect(product([], [], 2, 4, 0), empty(2, 0));
          await bench.expect(product([0], [0], 2, 4, 3), empty(0, 2, 3));
        },
      ),
    ),
  ),
  primitiveCase('zero extents: softmax, topK, takeAlong, putAlong', async (bench) => {
    const { backend } = bench;
    await bench.expect(backend.softmax(bench.upload(empty(0, 3))), empty(0, 3));
    await bench.expect(backend.softmax(bench.upload(empty(2, 0))), empty(2, 0));
    const kept = backend.topK(bench.upload(empty(0, 3)), 2);
    await bench.expect(kept.values, empty(0, 2));
    await bench.expect(kept.indices, empty(0, 2), { dtype: 'i32' });
    const none = bench.upload(empty(2, 0), 'i32');
    await bench.expect(backend.takeAlong(bench.upload(filled(1, 2, 3)), none), empty(2, 0));
    await bench.expect(backend.putAlong(none, bench.upload(empty(2, 0)), 3), filled(0, 2, 3));
    const rows = bench.upload(empty(0, 2), 'i32');
    await bench.expect(backend.takeAlong(bench.upload(empty(0, 3)), rows), empty(0, 2));
    await bench.expect(backend.putAlong(rows, bench.upload(empty(0, 2)), 3), empty(0, 3));
  }),
  primitiveCase('zero extents: gatherRows, scatterAddRows, randomBits', async (bench) => {
    const { backend } = bench;
    const none = bench.upload(empty(2, 0), 'i32');
    await bench.expect(backend.gatherRows(bench.upload(filled(1, 2, 3, 4)), none), empty(2, 0, 4));
    await bench.expect(backend.scatterAddRows(3, none, bench.upload(empty(2, 0, 4))), filled(0, 2, 3, 4));
    const at = bench.upload(filled(0, 2, 5), 'i32');
    await bench.expect(backend.gatherRows(bench.upload(empty(2, 3, 0)), at), empty(2, 5, 0));
    await bench.expect(backend.scatterAddRows(3, at, bench.upload(empty(2, 5, 0))), empty(2, 3, 0));
    const batches = bench.upload(empty(0, 5), 'i32');
    await bench.expect(backend.gatherRows(bench.upload(empty(0, 3, 4)), batches), empty(0, 5, 4));
    await bench.expect(backend.scatterAddRows(3, batches, bench.upload(empty(0, 5, 4))), empty(0, 3, 4));
    await bench.expect(backend.randomBits(1, [0, 0, 0, 0], [2, 0]), empty(2, 0), { dtype: 'i32' });
  }),
  zeroCase('matmul of rank 3 by rank 2 over nothing', { output: { shape: [2, 3, 4] } }, (b) =>
    matmul(zeros(b, [2, 3, 0]), zeros(b, [0, 4])),
  ),
  zeroCase('reshape with -1', { output: { shape: [0, 3] } }, (b) => reshape(zeros(b, [0, 3, 1]), [-1, 3])),
  zeroCase('means of no rows', { output: { shape: [0, 1] } }, (b) =>
    mean(zeros(b, [0, 3]), { axes: [-1], keepDims: true }),
  ),
  zeroCase('mean over nothing is NaN', { output: { shape: [2], value: Number.NaN } }, (b) =>
    mean(zeros(b, [2, 0]), { axes: [-1] }),
  ),
  zeroCase('norms of no rows', { rms: { shape: [0, 3] }, layer: { shape: [0, 3] } }, (b) => ({
    rms: rmsNorm(zeros(b, [0, 3]), zeros(b, [3])),
    layer: layerNorm(zeros(b, [0, 3]), zeros(b, [3]), zeros(b, [3])),
  })),
  zeroCase('cross entropy of no rows is NaN', { output: { shape: [], value: Number.NaN } }, (b) =>
    crossEntropy(zeros(b, [0, 3]), zeros(b, [0], 'i32')),
  ),
  zeroCase('gradients of sum, max, broadcastTo, concat', { gradient: { shape: [0, 3] } }, (b) => ({
    gradient: grad((x: Tensor) =>
      sum(
        concat(
          [
            maxOver(x, { axes: [1] }),
            sum(x, { axes: [1] }),
            sum(broadcastTo(x, [2, 0, 3]), { axes: [0, 2] }),
          ],
          0,
        ),
      ),
    )(zeros(b, [0, 3])),
  })),
  zeroCase('gradients of a product over nothing', { a: { shape: [2, 3, 0] }, b: { shape: [0, 4] } }, (b) =>
    grad((p: { a: Tensor; b: Tensor }) => sum(matmul(p.a, p.b)))({
      a: zeros(b, [2, 3, 0]),
      b: zeros(b, [0, 4]),
    }),
  ),
];

/** Attention over a batch of 0: two query heads per key head, with every input that has a batch. */
function attentionInputs(b: Backend): { q: Tensor; k: Tensor; v: Tensor } {
  return { q: zeros(b, [0, 4, 3, 5]), k: zeros(b, [0, 2, 6, 5]), v: zeros(b, [0, 2, 6, 7]) };
}

const variants: Readonly<Record<string, (b: Backend) => Parameters<typeof exactAttention>[3]>> = {
  plain: () => ({}),
  'causal, masked, biased': (b) => ({
    causal: true,
    mask: zeros(b, [0, 1, 3, 6], 'bool'),
    keyLengths: zeros(b, [0], 'i32'),
    bias: zeros(b, [1, 4, 1, 6]),
  }),
  'a relative bias, dropout, a chunk': (b) => ({
    relativeBias: {
      table: tensor(b, new Float32Array(32).fill(1), [8, 4]),
      bidirectional: true,
      maxDistance: 9,
    },
    dropout: { rate: 0.5, seed: 1 },
    queryChunk: 2,
  }),
};

const layers: readonly ConformanceCase[] = [
  ...Object.entries(variants).flatMap(([name, options]) => [
    zeroCase(
      `attention over a batch of 0, ${name}`,
      {
        output: { shape: [0, 4, 3, 7] },
        indices: { shape: [0, 4, 3, 2] },
        exact: { shape: [0, 4, 3, 7] },
      },
      (b) => {
        const { q, k, v } = attentionInputs(b);
        const { output, indices } = topKAttention(q, k, v, { ...options(b), k: 2, returnIndices: true });
        return { output, indices, exact: exactAttention(q, k, v, options(b)) };
      },
    ),
    ...([2, 'all'] as const).map((kept) =>
      zeroCase(
        `gradients of attention over a batch of 0, k ${kept}, ${name}`,
        {
          q: { shape: [0, 4, 3, 5] },
          k: { shape: [0, 2, 6, 5] },
          v: { shape: [0, 2, 6, 7] },
          bias: { shape: [1, 4, 1, 6] },
          table: { shape: [8, 4] },
        },
        (b) => {
          const given = { bias: zeros(b, [1, 4, 1, 6]), table: zeros(b, [8, 4]), ...attentionInputs(b) };
          return grad(({ q, k, v, bias, table }: typeof given) => {
            const relativeBias = { table, bidirectional: true, maxDistance: 9 };
            const all = { ...options(b), bias, relativeBias };
            return sum(
              kept === 'all' ? exactAttention(q, k, v, all) : topKAttention(q, k, v, { ...all, k: kept }),
            );
          })(given);
        },
      ),
    ),
  ]),
  zeroCase(
    'the halves of attention over a batch of 0',
    {
      output: { shape: [0, 4, 3, 7] },
      indices: { shape: [0, 4, 3, 2] },
      scores: { shape: [0, 4, 3, 2] },
      dQ: { shape: [0, 4, 3, 5] },
      dV: { shape: [0, 2, 6, 7] },
    },
    (b) => {
      const { q, k, v } = attentionInputs(b);
      const { output, indices, scores } = attentionForward(q, k, v, { k: 2 });
      if (indices === undefined || scores === undefined) return { output };
      const gradients = attentionBackward(q, k, v, { k: 2 }, { indices, scores }, zeros(b, [0, 4, 3, 7]));
      return { output, indices, scores, dQ: gradients.q, dK: gradients.k, dV: gradients.v };
    },
  ),
  ...([2, 9] as const).flatMap((k) => [
    zeroCase(`a feed-forward layer without tokens, k ${k}`, { output: { shape: [3, 0, 2] } }, (b) =>
      topKFeedForward(zeros(b, [3, 0, 5]), { wIn: zeros(b, [5, 8]), wOut: zeros(b, [8, 2]) }, { k }),
    ),
    zeroCase(
      `gradients of a feed-forward layer without tokens, k ${k}`,
      { x: { shape: [0, 5] }, wIn: { shape: [5, 8] }, wOut: { shape: [8, 2] }, bOut: { shape: [2] } },
      (b) =>
        grad(({ x, ...weights }: { x: Tensor; wIn: Tensor; wOut: Tensor; bOut: Tensor }) =>
          sum(topKFeedForward(x, weights, { k, select: 'contribution' })),
        )({ x: zeros(b, [0, 5]), wIn: zeros(b, [5, 8]), wOut: zeros(b, [8, 2]), bOut: zeros(b, [2]) }),
    ),
    zeroCase(
      `the halves of a feed-forward layer without tokens, k ${k}`,
      { output: { shape: [0, 2] }, dX: { shape: [0, 5] }, dWIn: { shape: [5, 8] } },
      (b) => {
        const x = zeros(b, [0, 5]);
        const weights = { wIn: zeros(b, [5, 8]), wOut: zeros(b, [8, 2]) };
        const { output, kept } = feedForwardForward(x, weights, { k });
        const d = feedForwardBackward(x, weights, { k }, kept, zeros(b, [0, 2]));
        return { output, dX: d.x, dWIn: d.wIn, dWOut: d.wOut };
      },
    ),
  ]),
];

export const zeroExtentCases: readonly ConformanceCase[] = [...primitives, ...layers];
