import type { ConformanceCase } from '../../harness/case.js';
import type { Nd } from '../../harness/support/nd.js';
import { list, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { checkAgainstOracle } from './check.js';
import { eighths, exactScores, type Geometry } from './draw.js';
import type { AttentionProblem } from './problem.js';

type Extras = Partial<AttentionProblem>;

interface Recipe {
  readonly name: string;
  readonly geometry: Geometry;
  readonly kept: number;
  readonly extras?: (random: Random) => Extras;
}

const square: Geometry = { batch: 2, queryHeads: 2, queryLength: 7, keyLength: 9 };
const grouped: Geometry = { batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 5, keyLength: 8, valueDim: 3 };

const recipes: readonly Recipe[] = [
  { name: 'plain', geometry: square, kept: 3 },
  { name: 'one query, one key', geometry: { queryLength: 1, keyLength: 1, headDim: 1 }, kept: 1 },
  { name: 'k = 1', geometry: square, kept: 1 },
  { name: 'k = Lk', geometry: square, kept: 9 },
  { name: 'k > Lk', geometry: square, kept: 40 },
  { name: 'grouped heads, values of another width', geometry: grouped, kept: 3 },
  { name: 'one key head for six', geometry: { ...square, queryHeads: 6, keyHeads: 1 }, kept: 4 },
  { name: 'causal', geometry: { ...square, keyLength: 7 }, kept: 3, extras: () => ({ causal: true }) },
  {
    name: 'causal, Lq < Lk',
    geometry: { ...square, queryLength: 3 },
    kept: 3,
    extras: () => ({ causal: true }),
  },
  {
    name: 'causal, Lq > Lk: empty leading rows',
    geometry: { ...square, queryLength: 12 },
    kept: 3,
    extras: () => ({ causal: true }),
  },
  {
    name: 'key lengths, 0 among them',
    geometry: { ...square, batch: 3 },
    kept: 3,
    extras: () => ({ keyLengths: list(5, 0, 9) }),
  },
  {
    name: 'mask [B, 1, 1, Lk]',
    geometry: square,
    kept: 3,
    extras: (r) => ({ mask: r.booleans([2, 1, 1, 9]) }),
  },
  {
    name: 'mask [1, H, Lq, 1]',
    geometry: square,
    kept: 3,
    extras: (r) => ({ mask: r.booleans([1, 2, 7, 1]) }),
  },
  {
    name: 'mask [B, H, Lq, Lk]',
    geometry: square,
    kept: 3,
    extras: (r) => ({ mask: r.booleans([2, 2, 7, 9]) }),
  },
  { name: 'all masked', geometry: square, kept: 3, extras: () => ({ mask: nd([1, 1, 1, 1], () => 0) }) },
  {
    name: 'bias [1, H, Lq, Lk]',
    geometry: square,
    kept: 3,
    extras: (r) => ({ bias: eighths(r, [1, 2, 7, 9]) }),
  },
  {
    name: 'bias [B, 1, 1, Lk]',
    geometry: square,
    kept: 3,
    extras: (r) => ({ bias: eighths(r, [2, 1, 1, 9]) }),
  },
  ...[
    [1, 1, 1, 9],
    [1, 2, 1, 9],
    [2, 1, 7, 9],
    [2, 2, 7, 9],
  ].map(
    // Gradients that sum over repeated elements. (For biases whose last extent is 1 they are mathematically 0.)
    (shape): Recipe => ({
      name: `bias [${shape}]`,
      geometry: square,
      kept: 4,
      extras: (r) => ({ bias: eighths(r, shape), queryChunk: 3 }),
    }),
  ),
  {
    name: 'bias [B, H, Lq, 1]',
    geometry: square,
    kept: 3,
    extras: (r) => ({ bias: eighths(r, [2, 2, 7, 1]) }),
  },
  {
    name: 'bias [1, 1, 1, 1]',
    geometry: square,
    kept: 3,
    extras: (r) => ({ bias: eighths(r, [1, 1, 1, 1]) }),
  },
  {
    name: 'bias with -inf as mask',
    geometry: square,
    kept: 3,
    extras: (r) => ({ bias: withMinusInfinity(r, [1, 2, 7, 9]) }),
  },
  {
    name: 'relative bias, both ways',
    geometry: { ...square, queryLength: 20, keyLength: 20 },
    kept: 5,
    extras: (r) => relative(r, 2, true),
  },
  {
    name: 'relative bias, one way, causal, Lq < Lk',
    geometry: { ...square, queryLength: 6, keyLength: 20 },
    kept: 5,
    extras: (r) => ({ ...relative(r, 2, false), causal: true }),
  },
  {
    // 8, 16 and 64 keys back f32 rounds across the edge of a bucket.
    name: 'relative bias, 9 buckets one way',
    geometry: { queryHeads: 2, queryLength: 2, keyLength: 80 },
    kept: 60,
    extras: (r) => ({
      table: eighths(r, [9, 2]),
      relative: { bidirectional: false, maxDistance: 128 },
    }),
  },
  { name: 'dropout', geometry: square, kept: 4, extras: () => ({ dropout: { rate: 0.25, seed: 99 } }) },
  {
    name: 'dropout 0.5, grouped heads, a seed above 32 bits',
    geometry: grouped,
    kept: 4,
    extras: () => ({ dropout: { rate: 0.5, seed: 2 ** 40 + 17 } }),
  },
  {
    name: 'everything at once',
    geometry: { ...grouped, queryLength: 6, keyLength: 11 },
    kept: 4,
    extras: (r) => ({
      ...relative(r, 4, true),
      causal: true,
      keyLengths: list(9, 11),
      mask: r.booleans([1, 4, 1, 11], 0.8),
      bias: withMinusInfinity(r, [2, 4, 6, 11]),
      dropout: { rate: 0.3, seed: 5 },
      queryChunk: 4,
    }),
  },
  { name: 'scale 0: all scores equal', geometry: square, kept: 4, extras: () => ({ scale: 0 }) },
  { name: 'negative scale', geometry: square, kept: 4, extras: () => ({ scale: -2 }) },
  // Equal scores stay equal only if the exact products are scaled, not their factors.
  ...[0.7, 1 / 3, -0.3, 1e-3].map(
    (scale): Recipe => ({
      name: `scale ${scale.toFixed(3)}, which rounds, with ties`,
      geometry: { ...square, keyLength: 40 },
      kept: 5,
      extras: (r) => ({
        q: r.integers([2, 2, 7, 4], -3, 3),
        k: r.integers([2, 2, 40, 4], -3, 3),
        scale,
      }),
    }),
  ),
  { name: '300 keys, k = 16', geometry: { queryLength: 4, keyLength: 300, headDim: 8 }, kept: 16 },
  {
    name: '1100 keys, k = 8, causal',
    geometry: { queryLength: 3, keyLength: 1100, headDim: 3 },
    kept: 8,
    extras: () => ({ causal: true }),
  },
];

function withMinusInfinity(random: Random, shape: readonly number[]): Nd {
  const bias = eighths(random, shape);
  return { shape, data: bias.data.map((value) => (random.next() < 0.4 ? Number.NEGATIVE_INFINITY : value)) };
}

function relative(random: Random, heads: number, bidirectional: boolean): Extras {
  return { table: eighths(random, [8, heads]), relative: { bidirectional, maxDistance: 16 } };
}

/** Every option, top-k and exact, forward and backward, against brute force. */
export const attentionOracleCases: readonly ConformanceCase[] = recipes.flatMap(
  ({ name, geometry, kept, extras }) =>
    ([kept, 'all'] as const).map((keys): ConformanceCase => {
      const title = `${keys === 'all' ? 'exactAttention' : `topKAttention, k ${keys}`}: ${name}`;
      return {
        name: title,
        group: 'attention',
        run: async (context) => {
          const random = new Random(title);
          const problem = { ...exactScores(random, geometry), kept: keys, ...extras?.(random) };
          await checkAgainstOracle(context, problem);
        },
      };
    }),
);
