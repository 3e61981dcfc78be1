import type { ConformanceCase } from '../../harness/case.js';
import { checkClose } from '../../harness/support/assert.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { solve } from './brute-force.js';
import { checkAgainstOracle } from './check.js';
import { eighths, exactScores, type Geometry } from './draw.js';
import { type AttentionProblem, run } from './problem.js';

interface Recipe {
  readonly name: string;
  readonly geometry: Geometry;
  readonly queryStart: number;
  readonly kept: number;
  readonly extras?: (random: Random) => Partial<AttentionProblem>;
  /** Keys and values from this key on are NaN and infinities, none of which may have an effect. */
  readonly spareFrom?: number;
}

const small: Geometry = { batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 4, keyLength: 12, valueDim: 3 };
const causal = (): Partial<AttentionProblem> => ({ causal: true });

/** T5's bias: 8 buckets for 4 heads. */
const relative =
  (bidirectional: boolean, rest: Partial<AttentionProblem> = {}, maxDistance = 16) =>
  (random: Random): Partial<AttentionProblem> => ({
    table: eighths(random, [8, 4]),
    relative: { bidirectional, maxDistance },
    ...rest,
  });

const recipes: readonly Recipe[] = [
  {
    name: 'one query in a cache with spare room',
    geometry: { ...small, queryLength: 1 },
    queryStart: 5,
    kept: 3,
    extras: causal,
    spareFrom: 6,
  },
  {
    name: 'the first query of a cache',
    geometry: { ...small, queryLength: 1 },
    queryStart: 0,
    kept: 3,
    extras: causal,
    spareFrom: 1,
  },
  {
    name: 'queries in a cache with spare room',
    geometry: small,
    queryStart: 3,
    kept: 3,
    extras: causal,
    spareFrom: 7,
  },
  {
    name: 'queries that fill a cache',
    geometry: small,
    queryStart: 8,
    kept: 3,
    extras: causal,
  },
  {
    name: 'in chunks',
    geometry: { ...small, queryLength: 7 },
    queryStart: 2,
    kept: 4,
    extras: () => ({ causal: true, queryChunk: 3 }),
    spareFrom: 9,
  },
  {
    name: 'more queries than keys, from the first key on',
    geometry: { ...small, queryLength: 9, keyLength: 5 },
    queryStart: 0,
    kept: 3,
    extras: causal,
  },
  { name: 'behind the last key', geometry: small, queryStart: 12, kept: 3, extras: causal },
  { name: 'as far as numbers go', geometry: small, queryStart: 2 ** 53 - 1, kept: 3, extras: causal },
  {
    name: 'a relative bias, one way, causal, spare room',
    geometry: small,
    queryStart: 3,
    kept: 3,
    extras: relative(false, { causal: true }),
    spareFrom: 7,
  },
  {
    name: 'a relative bias, one query, causal, spare room',
    geometry: { ...small, queryLength: 1, keyLength: 40 },
    queryStart: 21,
    kept: 5,
    extras: relative(false, { causal: true }),
    spareFrom: 22,
  },
  {
    name: 'a relative bias, both ways, in chunks',
    geometry: { ...small, queryLength: 7, keyLength: 20 },
    queryStart: 6,
    kept: 5,
    extras: relative(true, { queryChunk: 3 }),
  },
  {
    name: 'a relative bias, queries just behind the last key',
    geometry: small,
    queryStart: 14,
    kept: 5,
    extras: relative(true),
  },
  {
    name: 'a relative bias, queries as far as numbers go',
    geometry: small,
    queryStart: 2 ** 53 - 1,
    kept: 5,
    extras: relative(true, { causal: true }),
  },
  {
    name: 'a relative bias whose buckets reach farther than an i32',
    geometry: small,
    queryStart: 2 ** 34,
    kept: 5,
    extras: relative(false, { causal: true }, 2 ** 40),
  },
  {
    name: 'with lengths, a mask, biases and dropout',
    geometry: { ...small, queryLength: 6 },
    queryStart: 4,
    kept: 4,
    extras: (random) => ({
      ...relative(true)(random),
      causal: true,
      keyLengths: list(7, 12),
      mask: random.booleans([2, 4, 1, 12], 0.8),
      bias: eighths(random, [1, 4, 6, 12]),
      dropout: { rate: 0.3, seed: 5 },
      queryChunk: 4,
    }),
    spareFrom: 10,
  },
  {
    name: '1100 keys, one query',
    geometry: { queryLength: 1, keyLength: 1100, headDim: 3 },
    queryStart: 700,
    kept: 8,
    extras: causal,
    spareFrom: 701,
  },
  {
    name: '300 keys, more than a tile of queries',
    geometry: { queryHeads: 2, queryLength: 70, keyLength: 300 },
    queryStart: 130,
    kept: 8,
    extras: causal,
    spareFrom: 200,
  },
];

/** NaN and infinities in turn, from a key on. */
function spoilt(x: Nd, from: number): Nd {
  const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  return nd(x.shape, ([, , j = 0, d = 0], i) =>
    j >= from ? (bad[(j + d) % 3] as number) : (x.data[i] as number),
  );
}

function drawn(title: string, { geometry, queryStart, kept, extras, spareFrom }: Recipe): AttentionProblem {
  const random = new Random(title);
  const plain = { ...exactScores(random, geometry), kept, queryStart, ...extras?.(random) };
  if (spareFrom === undefined) return plain;
  return { ...plain, k: spoilt(plain.k, spareFrom), v: spoilt(plain.v, spareFrom) };
}

function placed(name: string, body: ConformanceCase['run']): ConformanceCase {
  return { name: `query start: ${name}`, group: 'attention', run: body };
}

/** Decoding: the rows of one causal call over all tokens, token by token out of a cache with spare room. */
async function decodes(
  { backend, tolerance }: Parameters<ConformanceCase['run']>[0],
  kept: number | 'all',
): Promise<void> {
  const [tokens, capacity, heads, dim] = [6, 9, 4, 4];
  const random = new Random('decoding');
  const geometry = { queryHeads: heads, queryLength: tokens, keyLength: tokens, headDim: dim };
  const whole: AttentionProblem = {
    ...exactScores(random, geometry),
    kept,
    ...relative(false, { causal: true })(random),
  };
  const { output } = solve(whole);
  const inCache = (x: Nd): Nd =>
    nd([1, heads, capacity, dim], ([, h = 0, j = 0, d = 0]) =>
      j < tokens ? (x.data[(h * tokens + j) * dim + d] as number) : Number.NaN,
    );
  const [k, v] = [inCache(whole.k), inCache(whole.v)];
  for (let token = 0; token < tokens; token++) {
    const rowOf = (x: readonly number[]): number[] =>
      Array.from({ length: heads * dim }, (_, i) => {
        const [h, d] = [Math.floor(i / dim), i % dim];
        return x[(h * tokens + token) * dim + d] as number;
      });
    const q = { shape: [1, heads, 1, dim], data: rowOf(whole.q.data) };
    const step = await run(backend, { ...whole, q, k, v, queryStart: token });
    checkClose(`token ${token}`, step.output, rowOf(output), tolerance);
  }
}

/**
 * Positions of the queries among the keys, and what causality and relative biases make of them, forward and backward.
 */
export const queryStartCases: readonly ConformanceCase[] = [
  ...recipes.flatMap((recipe) =>
    ([recipe.kept, 'all'] as const).map((kept) => {
      const title = `${kept === 'all' ? 'exact' : `k ${kept}`}, ${recipe.name}`;
      return placed(title, (context) => checkAgainstOracle(context, { ...drawn(title, recipe), kept }));
    }),
  ),
  ...([3, 'all'] as const).map((kept) =>
    placed(`${kept === 'all' ? 'exact' : `k ${kept}`}, decoding gives the rows of one call`, (context) =>
      decodes(context, kept),
    ),
  ),
  placed('without causality and a relative bias it has no effect', async (context) => {
    for (const kept of [3, 'all'] as const) {
      const problem = { ...exactScores(new Random('no effect'), small), kept };
      const expected = solve(problem);
      const { output } = await run(context.backend, { ...problem, queryStart: 2 });
      checkClose(`k ${kept}`, output, expected.output, context.tolerance);
    }
  }),
];
