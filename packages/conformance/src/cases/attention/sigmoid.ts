import type { ConformanceCase } from '../../harness/case.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { checkAgainstOracle } from './check.js';
import { eighths, exactScores, type Geometry } from './draw.js';
import type { AttentionProblem } from './problem.js';

type Extras = Partial<AttentionProblem>;

interface Recipe {
  readonly name: string;
  readonly geometry: Geometry;
  /** Default -2. */
  readonly shift?: number;
  readonly extras?: (random: Random) => Extras;
  /** Keys of the first batch and head that are NaN. */
  readonly nanKeys?: readonly number[];
}

const square: Geometry = { batch: 2, queryHeads: 2, queryLength: 7, keyLength: 9 };
const grouped: Geometry = {
  batch: 2,
  queryHeads: 4,
  keyHeads: 2,
  queryLength: 6,
  keyLength: 11,
  valueDim: 3,
};

const relative = (random: Random, heads: number): Extras => ({
  table: eighths(random, [8, heads]),
  relative: { bidirectional: true, maxDistance: 16 },
});

const recipes: readonly Recipe[] = [
  { name: 'plain', geometry: square },
  { name: 'no shift, one query, one key', geometry: { queryLength: 1, keyLength: 1, headDim: 1 }, shift: 0 },
  { name: 'saturated above', geometry: square, shift: 40 },
  { name: 'underflowing', geometry: square, shift: -400 },
  { name: 'grouped heads, values of another width', geometry: grouped },
  {
    name: 'causal, in chunks',
    geometry: { ...square, keyLength: 7 },
    extras: () => ({ causal: true, queryChunk: 3 }),
  },
  {
    name: 'more queries than keys, causal: rows without a key',
    geometry: { ...square, queryLength: 9, keyLength: 5 },
    extras: () => ({ causal: true }),
  },
  {
    name: 'NaN keys behind the length, and no key at all',
    geometry: square,
    extras: () => ({ keyLengths: list(6, 0) }),
    nanKeys: [6, 8],
  },
  { name: 'a NaN among the keys', geometry: square, nanKeys: [4] },
  { name: 'a mask', geometry: square, extras: (r) => ({ mask: r.booleans([2, 1, 7, 9], 0.6) }) },
  { name: 'a bias for all heads', geometry: square, extras: (r) => ({ bias: eighths(r, [1, 1, 7, 9]) }) },
  { name: 'dropout', geometry: grouped, extras: () => ({ dropout: { rate: 0.5, seed: 17 } }) },
  {
    name: 'everything at once',
    geometry: grouped,
    extras: (r) => ({
      ...relative(r, 4),
      causal: true,
      keyLengths: list(9, 11),
      mask: r.booleans([1, 4, 1, 11], 0.8),
      bias: eighths(r, [2, 4, 6, 11]),
      dropout: { rate: 0.3, seed: 5 },
      queryChunk: 4,
    }),
  },
  { name: '300 keys, 70 queries', geometry: { queryHeads: 2, queryLength: 70, keyLength: 300 }, shift: -6 },
  { name: 'one query of 8,250 keys', geometry: { queryLength: 1, keyLength: 8_250 }, shift: -9 },
];

function spoilt(x: Nd, keys: readonly number[]): Nd {
  return nd(x.shape, ([b = 0, h = 0, j = 0], i) =>
    b === 0 && h === 0 && keys.includes(j) ? Number.NaN : (x.data[i] as number),
  );
}

/** Exact attention by sigmoids in place of softmax, forward and backward, against brute force. */
export const sigmoidCases: readonly ConformanceCase[] = recipes.map(
  ({ name, geometry, shift = -2, extras, nanKeys = [] }): ConformanceCase => ({
    name: `exactAttention by sigmoids: ${name}`,
    group: 'attention',
    run: (context) => {
      const random = new Random(name);
      const plain = { ...exactScores(random, geometry), ...extras?.(random) };
      const problem = { ...plain, kept: 'all', sigmoidShift: shift } as const;
      return checkAgainstOracle(context, { ...problem, k: spoilt(plain.k, nanKeys) });
    },
  }),
);
