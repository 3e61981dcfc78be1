import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { ConformanceFailure, checkClose } from '../../harness/support/assert.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { solve } from './brute-force.js';
import { checkAgainstOracle, checkGradients, cotangentOf } from './check.js';
import { exactScores } from './draw.js';
import { type AttentionProblem, type GradientRole, outputShape, run } from './problem.js';

const NAN = Number.NaN;
const INF = Number.POSITIVE_INFINITY;

/** A call small enough to be worked out by hand, and its answer. One sequence, one head, scale 1. */
interface Stated {
  readonly name: string;
  readonly q: readonly number[];
  readonly k: readonly number[];
  readonly v: readonly number[];
  /** Width of v. Default 1. */
  readonly valueDim?: number;
  readonly options?: Partial<AttentionProblem>;
  readonly output: readonly number[];
  readonly dO?: readonly number[];
  readonly gradients?: Partial<Record<GradientRole, readonly number[]>>;
}

const flags = (rows: number, columns: number, ...data: readonly number[]): Nd => ({
  shape: [1, 1, rows, columns],
  data,
});

/** Softmax of (1, 3), and the gradient that it passes on to scores when values are 1 and 2. */
const [LIGHT, HEAVY, PULL] = [0.11920292202211757, 0.8807970779778824, 0.10499358540350652];

const minusInfinityForLaterKeys: Partial<AttentionProblem> = {
  table: { shape: [4, 1], data: [0, 0, -INF, -INF] },
  relative: { bidirectional: true, maxDistance: 8 },
};

const stated: readonly Stated[] = [
  ...[NAN, INF, -INF].map(
    (bad): Stated => ({
      name: `a dot product of -inf hides its key, whose value is ${bad}`,
      q: [1],
      k: [0, -INF],
      v: [1, bad],
      output: [1],
      dO: [1],
      gradients: { q: [0], k: [0, 0], v: [1, 0] },
    }),
  ),
  {
    name: 'a row in which every dot product is -inf is empty',
    q: [INF, 1],
    k: [-1, -2],
    v: [NAN, 2],
    options: { mask: flags(2, 2, 1, 1, 0, 1) },
    output: [0, 2],
    dO: [NAN, 1],
    gradients: { q: [0, 0], k: [0, 0], v: [0, 1] },
  },
  {
    name: 'a key of -inf hidden from a row that another key makes NaN',
    q: [1, -1],
    k: [-INF, NAN, 1],
    v: [1, 2, 3],
    options: { mask: flags(2, 3, 1, 1, 1, 0, 0, 1) },
    output: [NAN, 3],
    dO: [1, 1],
    gradients: { q: [NAN, 0], k: [0, NAN, NAN], v: [0, NAN, NAN] },
  },
  {
    name: 'the same without a mask',
    q: [1],
    k: [-INF, NAN, 1],
    v: [1, 2, 3],
    output: [NAN],
    dO: [1],
    gradients: { q: [NAN], k: [0, NAN, NAN], v: [0, NAN, NAN] },
  },
  {
    name: 'an infinite query hides the keys of which its product is -inf, for itself alone',
    q: [INF, 1],
    k: [-1, 1],
    v: [1, 2],
    output: [NAN, 1 + HEAVY],
    dO: [1, 1],
    gradients: { q: [NAN, 2 * PULL], k: [-PULL, NAN], v: [LIGHT, NAN] },
  },
  {
    name: 'an infinite query all of whose products are -inf sees nothing',
    q: [INF, 1],
    k: [-3, -1],
    v: [1, NAN],
    output: [0, NAN],
    dO: [NAN, 1],
    gradients: { q: [0, NAN], k: [NAN, NAN], v: [LIGHT, HEAVY] },
  },
  {
    name: 'the gradient of the output is NaN where a key of -inf is not seen',
    q: [1],
    k: [0, -INF],
    v: [1, 2],
    output: [1],
    dO: [NAN],
    gradients: { q: [NAN], k: [NAN, 0], v: [NAN, 0] },
  },
  {
    name: 'a table of -inf hides its keys, whose value is NaN',
    q: [0, 0],
    k: [0, 0],
    v: [1, NAN],
    options: minusInfinityForLaterKeys,
    output: [1, NAN],
    dO: [1, 1],
    gradients: { q: [0, NAN], k: [NAN, NAN], v: [1.5, 0.5], table: [NAN, NAN, 0, 0] },
  },
  {
    name: 'a bias of -inf hides its key, whose value is NaN',
    q: [0, 0],
    k: [0, 0],
    v: [1, NAN],
    options: { bias: flags(2, 2, 0, -INF, 0, 0) },
    output: [1, NAN],
    dO: [1, 1],
    gradients: { q: [0, NAN], k: [NAN, NAN], v: [1.5, 0.5], bias: [0, 0, NAN, NAN] },
  },
  {
    name: 'a query that sees nothing and is NaN',
    q: [NAN, 1],
    k: [1, 3],
    v: [1, 2],
    options: { mask: flags(2, 1, 0, 1) },
    output: [0, 1 + HEAVY],
    dO: [1, 1],
    gradients: { q: [0, 2 * PULL], k: [-PULL, PULL], v: [LIGHT, HEAVY] },
  },
  {
    name: 'a row without a valid key whose query, bias and gradient are NaN',
    q: [NAN, 1],
    k: [1, 3],
    v: [1, 2],
    options: { mask: flags(2, 1, 0, 1), bias: flags(2, 2, NAN, NAN, 0, 0) },
    output: [0, 1 + HEAVY],
    dO: [NAN, 1],
    gradients: {
      q: [0, 2 * PULL],
      k: [-PULL, PULL],
      v: [LIGHT, HEAVY],
      bias: [0, 0, -PULL, PULL],
    },
  },
  {
    name: 'a leading row of a causal call that sees nothing and is infinite',
    q: [-INF, 1, 1],
    k: [1, 3],
    v: [1, 2],
    options: { causal: true },
    output: [0, 1, 1 + HEAVY],
    dO: [INF, 1, 1],
    gradients: { q: [0, 0, 2 * PULL], k: [-PULL, PULL], v: [1 + LIGHT, HEAVY] },
  },
  {
    name: 'a NaN query reaches the keys it sees and no other',
    q: [NAN],
    k: [1, 3],
    v: [1, 2],
    options: { keyLengths: list(1) },
    output: [NAN],
    dO: [1],
    gradients: { q: [NAN], k: [NAN, 0], v: [NAN, 0] },
  },
  {
    name: 'a NaN key reaches the rows that see it and no other',
    q: [1, 1],
    k: [0, NAN],
    v: [1, NAN],
    options: { causal: true },
    output: [1, NAN],
    dO: [1, 1],
    gradients: { q: [0, NAN], k: [NAN, NAN], v: [NAN, NAN] },
  },
  {
    name: 'a gradient of inf reaches the values its row sees and no other',
    q: [1, 1],
    k: [0, 0],
    v: [1, 2],
    options: { causal: true },
    output: [1, 1.5],
    dO: [INF, 1],
    gradients: { q: [NAN, 0], k: [NAN, 0.25], v: [INF, 0.5] },
  },
  {
    name: 'a visible value of NaN is loud',
    q: [2],
    k: [1, 3],
    v: [1, NAN],
    options: { mask: flags(1, 1, 1) },
    output: [NAN],
    dO: [1],
    gradients: { q: [NAN], k: [NAN, NAN] },
  },
  {
    name: 'a visible value of NaN is loud where its weight is 0',
    q: [1],
    k: [0, -200],
    v: [1, NAN],
    options: { mask: flags(1, 1, 1) },
    output: [NAN],
    dO: [1],
    gradients: { q: [NAN], k: [NAN, NAN], v: [1, 0] },
  },
  {
    name: 'a query that sees nothing and is NaN, by a mask of every pair',
    q: [1, NAN],
    k: [0, 0],
    v: [1, 2],
    options: { mask: flags(2, 2, 1, 1, 0, 0) },
    output: [1.5, 0],
    dO: [1, 1],
    gradients: { q: [0, 0], k: [-0.25, 0.25], v: [0.5, 0.5] },
  },
  ...Object.entries({
    'no mask': {},
    'a mask': { mask: flags(1, 1, 1) },
    causal: { causal: true },
    'key lengths': { keyLengths: list(3) },
    'a bias': { bias: flags(1, 1, 0) },
  } satisfies Record<string, Partial<AttentionProblem>>).flatMap(([name, options]): Stated[] => [
    {
      name: `a value of inf stays in its column, ${name}`,
      q: [0],
      k: [0],
      v: [INF, 2],
      valueDim: 2,
      options,
      output: [INF, 2],
    },
    {
      name: `values of inf, -inf and NaN add up as in plain arithmetic, ${name}`,
      q: [0],
      k: [0, 0],
      v: [INF, INF, 1, -INF, NAN, -INF, INF, 3, -INF, INF],
      valueDim: 5,
      options,
      output: [NAN, INF, 2, -INF, NAN],
    },
  ]),
  {
    name: 'hidden infinities and NaN leave visible ones alone',
    q: [0],
    k: [0, 0, 0],
    v: [INF, 1, NAN, -INF, NAN, INF, 1, 2, 3],
    valueDim: 3,
    options: { mask: flags(1, 3, 1, 0, 1) },
    output: [INF, 1.5, NAN],
    dO: [1, 0, 0],
    gradients: { v: [0.5, 0, 0, 0, 0, 0, 0.5, 0, 0] },
  },
];

function problemOf({ q, k, v, valueDim = 1, options }: Stated, kept: number | 'all'): AttentionProblem {
  return {
    q: { shape: [1, 1, q.length, 1], data: q },
    k: { shape: [1, 1, k.length, 1], data: k },
    v: { shape: [1, 1, v.length / valueDim, valueDim], data: v },
    scale: 1,
    kept,
    ...options,
  };
}

const statedCases = stated.flatMap((one) =>
  (['all', one.k.length] as const).map(
    (kept): ConformanceCase => ({
      name: `hidden keys, ${kept === 'all' ? 'exact' : 'top-k'}: ${one.name}`,
      group: 'attention',
      async run({ backend, tolerance }) {
        const problem = problemOf(one, kept);
        const cotangent = one.dO && { shape: outputShape(problem), data: one.dO };
        const solved = solve(problem, cotangent);
        checkClose('output of the brute force', solved.output, one.output, tolerance);
        checkClose('output', (await run(backend, problem)).output, one.output, tolerance);
        if (cotangent === undefined) return;
        const trained = await run(backend, problem, cotangent);
        checkClose('output while training', trained.output, one.output, tolerance);
        const wanted = one.gradients ?? {};
        checkGradients(solved.gradients, wanted, tolerance, solved.open);
        checkGradients(trained.gradients, wanted, tolerance, solved.open);
      },
    }),
  ),
);

type Change = (problem: AttentionProblem, random: Random) => Partial<AttentionProblem>;

/** Every way to hide a key, drawn for the problem's sizes. */
const hidings: Readonly<Record<string, Change>> = {
  nothing: () => ({}),
  'a mask of keys': (_, random) => ({ mask: random.booleans([2, 1, 1, 7], 0.6) }),
  'a mask of queries': (_, random) => ({ mask: random.booleans([1, 4, 6, 1], 0.6) }),
  'a mask of pairs': (_, random) => ({ mask: random.booleans([2, 4, 6, 7], 0.6) }),
  causality: () => ({ causal: true }),
  'causality and spare room': () => ({ causal: true, queryStart: 0 }),
  'key lengths': () => ({ keyLengths: list(4, 0) }),
  'a bias of -inf': (_, random) => ({
    bias: nd([1, 4, 6, 7], () => (random.next() < 0.4 ? -INF : random.integer(-2, 2) / 4)),
  }),
  'a table of -inf': (_, random) => ({
    table: nd([8, 4], () => (random.next() < 0.4 ? -INF : random.integer(-2, 2) / 4)),
    relative: { bidirectional: true, maxDistance: 16 },
  }),
  'keys of -inf': (problem, random) => {
    const isInfinite = random.booleans([2, 2, 7, 1], 0.4);
    // One coordinate alone, and queries that are positive there.
    return {
      q: nd(problem.q.shape, ([, , , d], i) => (d === 0 ? 1 : (problem.q.data[i] as number))),
      k: nd(problem.k.shape, ([b = 0, h = 0, j = 0, d], i) =>
        d === 0 && isInfinite.data[(b * 2 + h) * 7 + j] === 1 ? -INF : (problem.k.data[i] as number),
      ),
    };
  },
};

const bad = (x: Nd, random: Random, share: number, ...values: readonly number[]): Nd =>
  nd(x.shape, (_, i) => (random.next() < share ? random.pick(values) : (x.data[i] as number)));

/** Where NaN and infinities are put; `dO` stands for the gradient of the output. */
const poisons: Readonly<
  Record<string, (problem: AttentionProblem & { readonly dO: Nd }, random: Random) => object>
> = {
  values: ({ v }, random) => ({ v: bad(v, random, 0.15, NAN, INF, -INF) }),
  keys: ({ k }, random) => ({ k: bad(k, random, 0.04, NAN, INF, -INF) }),
  queries: ({ q }, random) => ({ q: bad(q, random, 0.05, NAN, INF, -INF) }),
  'the gradient of the output': ({ dO }, random) => ({ dO: bad(dO, random, 0.1, NAN, INF, -INF) }),
  'all of them': ({ q, k, v, dO }, random) => ({
    q: bad(q, random, 0.02, NAN, INF),
    k: bad(k, random, 0.02, NAN, -INF),
    v: bad(v, random, 0.1, NAN, INF, -INF),
    dO: bad(dO, random, 0.05, NAN, INF),
  }),
};

/** A failure, naming the part of the case in which it happened. */
async function naming(what: string, work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    throw new ConformanceFailure(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  });
}

/** Every k, in one chunk and in several. */
const pairs = (['all', 3, 7] as const).flatMap((kept) =>
  [undefined, 4].map((queryChunk) => ({ kept, queryChunk })),
);

/** Trials of a property below which an engine counts as slow, and has a third of the pairs. */
const FEW_RUNS = 100;

/** @param turn of the third that a slow engine has: two k, one of them in chunks; three turns have every pair */
async function checkPoisoned(
  { backend, tolerance, runs }: ConformanceContext,
  hide: Change,
  poison: (typeof poisons)[string],
  turn: number,
  seed: string,
): Promise<void> {
  const chosen =
    runs < FEW_RUNS ? pairs.filter((_, i) => (Math.floor(i / 2) + (i % 2) + turn) % 3 === 0) : pairs;
  for (const { kept, queryChunk } of chosen) {
    const random = new Random(`${seed} ${kept} ${queryChunk}`);
    const geometry = { batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 6, keyLength: 7, valueDim: 3 };
    const plain: AttentionProblem = {
      ...exactScores(random, geometry),
      kept,
      ...(queryChunk !== undefined && { queryChunk }),
    };
    const hidden = { ...plain, ...hide(plain, random) };
    const whole = { ...hidden, dO: cotangentOf(hidden) };
    const { dO, ...problem } = { ...whole, ...poison(whole, random) };
    const what = `k ${kept}, chunk ${queryChunk ?? 'planned'}`;
    await naming(what, checkAgainstOracle({ backend, tolerance }, problem, { cotangent: dO }));
  }
}

/** What a key that is not valid for a query may do to its output and gradients: nothing. */
export const hiddenKeyCases: readonly ConformanceCase[] = [
  ...statedCases,
  // By turns: each way to hide a key meets every pair, and so does each place of the NaN.
  ...Object.entries(hidings).flatMap(([hiding, hide], row) =>
    Object.entries(poisons).map(
      ([place, poison], column): ConformanceCase => ({
        name: `hidden keys, by ${hiding}: NaN and infinities in ${place}`,
        group: 'attention',
        run: (context) => checkPoisoned(context, hide, poison, row + column, `${hiding} ${place}`),
      }),
    ),
  ),
];
