import type { ConformanceCase } from '../../harness/case.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { checkAgainstOracle } from './check.js';
import { eighths, exactScores, type Geometry } from './draw.js';
import type { AttentionProblem } from './problem.js';

interface Recipe {
  readonly name: string;
  readonly geometry: Geometry;
  readonly extras?: (random: Random) => Partial<AttentionProblem>;
  /** Keys of the first batch and head that are NaN. */
  readonly nanKeys?: readonly number[];
}

/** Enough keys for a backend to divide a row among many workers, and to merge what each of them keeps. */
const KEYS = 8_250;

const recipes: readonly Recipe[] = [
  { name: 'one query', geometry: { queryHeads: 2, queryLength: 1, keyLength: KEYS } },
  {
    name: 'two queries of grouped heads, causal',
    geometry: { queryHeads: 2, keyHeads: 1, queryLength: 2, keyLength: KEYS, headDim: 3, valueDim: 5 },
    extras: () => ({ causal: true, queryStart: 8_200 }),
  },
  {
    name: 'three queries, lengths that end in the first keys and a mask',
    geometry: { batch: 2, queryLength: 3, keyLength: KEYS },
    extras: (random) => ({ keyLengths: list(5, 8_230), mask: random.booleans([1, 1, 3, KEYS], 0.3) }),
  },
  {
    name: 'eight queries, a mask, a bias, a relative bias',
    geometry: { queryLength: 8, keyLength: KEYS },
    extras: (random) => ({
      mask: random.booleans([1, 1, 1, KEYS], 0.2),
      bias: eighths(random, [1, 1, 1, KEYS]),
      table: eighths(random, [8, 1]),
      relative: { bidirectional: true, maxDistance: 40 },
    }),
  },
  {
    name: 'one query, a NaN among the last keys',
    geometry: { queryHeads: 2, queryLength: 1, keyLength: KEYS },
    nanKeys: [KEYS - 2],
  },
  {
    name: 'one query, NaN keys behind the length',
    geometry: { queryHeads: 2, queryLength: 1, keyLength: KEYS },
    extras: () => ({ keyLengths: list(8_240) }),
    nanKeys: [8_240, KEYS - 1],
  },
];

function spoilt(x: Nd, keys: readonly number[]): Nd {
  return nd(x.shape, ([b = 0, h = 0, j = 0], i) =>
    b === 0 && h === 0 && keys.includes(j) ? Number.NaN : (x.data[i] as number),
  );
}

/**
 * Few queries over many keys, as in decoding. Scores are exact and most of them equal, so that the k-th is a tie between
 * distant keys.
 */
export const fewQueryCases: readonly ConformanceCase[] = recipes.flatMap(
  ({ name, geometry, extras, nanKeys = [] }) =>
    ([7, 'all'] as const).map((kept): ConformanceCase => {
      const title = `few queries: ${kept === 'all' ? 'exact' : `k ${kept}`}, ${name}`;
      return {
        name: title,
        group: 'attention',
        run: (context) => {
          const random = new Random(title);
          const plain = { ...exactScores(random, geometry), kept, ...extras?.(random) };
          return checkAgainstOracle(context, { ...plain, k: spoilt(plain.k, nanKeys) }, { gradients: false });
        },
      };
    }),
);
