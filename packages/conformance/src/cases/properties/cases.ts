import fc from 'fast-check';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { check, checkClose, checkSameBits } from '../../harness/support/assert.js';
import { type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { Workbench } from '../../harness/support/workbench.js';
import { solve } from '../attention/brute-force.js';
import { checkAgainstOracle, cotangentOf } from '../attention/check.js';
import { run as runAttention } from '../attention/problem.js';
import { checkSetRule } from '../attention/set-rule.js';
import { checkFeedForwardAgainstOracle, drawFeedForward } from '../feed-forward/oracle-cases.js';
import { softmaxRows } from '../primitives/reductions.js';
import { topKRows } from '../primitives/selection.js';
import { exactKinds, infiniteKinds, problemOf, roundedKinds, trials } from './nasty.js';

/** A statement about all inputs, tried on random ones; a failure prints the smallest it found, with the seed. */
function property<T>(
  name: string,
  inputs: fc.Arbitrary<T>,
  holds: (context: ConformanceContext, input: T) => Promise<void>,
): ConformanceCase {
  return {
    name: `property: ${name}`,
    group: 'properties',
    async run(context) {
      const statement = fc.asyncProperty(inputs, (input) => holds(context, input));
      await fc.assert(statement, { numRuns: context.runs, seed: context.seed, endOnFailure: false });
    },
  };
}

/** Runs with a workbench whose tensors are released whatever happens. */
async function benched(
  context: ConformanceContext,
  body: (bench: Workbench) => Promise<void>,
): Promise<void> {
  const bench = new Workbench(context.backend, context.tolerance);
  try {
    await body(bench);
  } finally {
    bench.releaseAll();
  }
}

const nastyNumbers = fc.constantFrom(
  ...[0, -0, 1, 1, 2, -1, 0.5, 2 ** 100, -(2 ** 100), 2 ** -126],
  ...[1 + 2 ** -23, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
);

/** A matrix of one of few shapes. */
function matrices(numbers: fc.Arbitrary<number>): fc.Arbitrary<Nd> {
  return fc.constantFrom([1, 1], [2, 3], [3, 8], [2, 17], [1, 70]).chain((shape) =>
    fc
      .array(numbers, {
        minLength: (shape[0] ?? 1) * (shape[1] ?? 1),
        maxLength: (shape[0] ?? 1) * (shape[1] ?? 1),
      })
      .map((data) => ({ shape, data })),
  );
}

const feedForwardTrials = fc.record({
  kept: fc.constantFrom(1, 3, 11, 12, 20),
  activation: fc.constantFrom('relu' as const, 'gelu' as const, 'gelu_tanh' as const, 'silu' as const),
  gated: fc.boolean(),
  biased: fc.boolean(),
  tokenChunk: fc.constantFrom(1, 4, 50),
  seed: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
});

const scatterTrials = fc.record({
  rows: fc.constantFrom(1, 2, 7),
  updates: fc.constantFrom(1, 9, 40),
  seed: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
});

export const propertyCases: readonly ConformanceCase[] = [
  property(
    'topK keeps what its definition says',
    fc.tuple(matrices(nastyNumbers), fc.constantFrom(1, 2, 5, 64)),
    (context, [x, most]) =>
      benched(context, async (bench) => {
        const k = Math.min(most, x.shape[1] as number);
        const expected = topKRows(x, k);
        const got = bench.backend.topK(bench.upload(x), k);
        bench.own(got.values);
        await bench.expect(got.indices, expected.indices, { what: 'indices', dtype: 'i32' });
        await bench.expect(bench.backend.reshape(got.values, got.values.shape), expected.values, {
          what: 'values',
          exact: true,
        });
      }),
  ),
  property(
    'softmax rows sum to one, are empty or NaN',
    matrices(fc.oneof(nastyNumbers, fc.constant(Number.NaN))),
    (context, x) =>
      benched(context, (bench) => bench.expect(bench.backend.softmax(bench.upload(x)), softmaxRows(x))),
  ),
  property(
    'scatterAddRows is the transpose of gatherRows',
    scatterTrials,
    (context, { rows, updates, seed }) =>
      benched(context, async (bench) => {
        const { backend } = bench;
        const random = new Random(`scatter ${seed}`);
        const indices = bench.upload(random.integers([2, updates], -1, rows - 1), 'i32');
        const [x, u] = [random.integers([2, rows, 3], -4, 4), random.integers([2, updates, 3], -4, 4)];
        const gathered = await bench.read(bench.own(backend.gatherRows(bench.upload(x), indices)));
        const scattered = await bench.read(bench.own(backend.scatterAddRows(rows, indices, bench.upload(u))));
        const dot = (a: readonly number[], b: readonly number[]): number =>
          a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
        check(dot(gathered, u.data) === dot(x.data, scattered), 'gather(x) . u differs from x . scatter(u)');
      }),
  ),
  property(
    'top-k attention keeps and weighs the keys that brute force does',
    trials(exactKinds),
    (context, trial) => checkAgainstOracle(context, problemOf(trial), { gradients: false }),
  ),
  property(
    'infinite and NaN keys: NaN rows where brute force has them, ordinary ones elsewhere',
    trials(infiniteKinds),
    (context, trial) => checkAgainstOracle(context, problemOf(trial)),
  ),
  property(
    'NaN and infinities anywhere: numbers where brute force has them, and none elsewhere',
    fc.record({
      trial: trials(['few values', 'duplicates', 'infinities', 'NaN']),
      places: fc.subarray(['q', 'v', 'dO'] as const, { minLength: 1 }),
      isExact: fc.boolean(),
    }),
    (context, { trial, places, isExact }) => {
      const drawn = problemOf(trial);
      const random = new Random(`places ${trial.seed}`);
      const put = (x: Nd, place: (typeof places)[number]): Nd =>
        places.includes(place)
          ? nd(x.shape, (_, i) =>
              random.next() < 0.1
                ? random.pick([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
                : (x.data[i] as number),
            )
          : x;
      const problem = {
        ...drawn,
        q: put(drawn.q, 'q'),
        v: put(drawn.v, 'v'),
        ...(isExact && { kept: 'all' as const }),
      };
      return checkAgainstOracle(context, problem, { cotangent: put(cotangentOf(problem), 'dO') });
    },
  ),
  property(
    'exact attention equals brute force',
    trials([...exactKinds, ...infiniteKinds]),
    (context, trial) =>
      checkAgainstOracle(context, { ...problemOf(trial), kept: 'all' }, { gradients: false }),
  ),
  property(
    'scores that are not exact: kept sets follow the set rule',
    trials(roundedKinds),
    (context, trial) => checkSetRule(context.backend, problemOf(trial), context.tolerance),
  ),
  property(
    'gradients of top-k attention equal brute force',
    trials(exactKinds.filter((kind) => kind !== 'one huge')),
    (context, trial) => checkAgainstOracle(context, problemOf(trial)),
  ),
  property(
    'gradients of exact attention equal brute force',
    trials([...exactKinds.filter((kind) => kind !== 'one huge'), ...infiniteKinds]),
    (context, trial) => checkAgainstOracle(context, { ...problemOf(trial), kept: 'all' }),
  ),
  property('dropout does not depend on the query chunk', trials(['few values']), async (context, trial) => {
    const problem = { ...problemOf(trial), dropout: { rate: 0.4, seed: trial.seed } };
    const expected = solve(problem);
    const got = await runAttention(context.backend, problem);
    checkClose('output', got.output, expected.output, context.tolerance);
  }),
  property(
    'value rows of keys that no query keeps do not change a bit',
    trials(exactKinds),
    async (context, trial) => {
      const problem = problemOf(trial);
      const clean = await runAttention(context.backend, problem);
      const [, keyHeads = 1, keys = 1] = problem.k.shape;
      const [, heads = 1, queries = 1] = problem.q.shape;
      const slots = Math.min(problem.kept as number, keys);
      const isKept = new Set(
        (clean.indices ?? []).flatMap((j, i) => {
          const row = Math.floor(i / slots);
          const head = Math.floor(row / queries);
          const keyHead =
            Math.floor(head / heads) * keyHeads + Math.floor(((head % heads) * keyHeads) / heads);
          return j < 0 ? [] : [keyHead * keys + j];
        }),
      );
      const width = problem.v.shape[3] as number;
      const v = nd(problem.v.shape, (_, i) =>
        isKept.has(Math.floor(i / width)) ? (problem.v.data[i] as number) : Number.NaN,
      );
      const dirty = await runAttention(context.backend, { ...problem, v });
      checkSameBits('output', Float64Array.from(dirty.output), Float64Array.from(clean.output));
    },
  ),
  property(
    'top-k feed-forward equals brute force, forward and gradients',
    feedForwardTrials,
    (context, trial) => {
      const problem = drawFeedForward(new Random(`feed-forward ${trial.seed}`), {
        ...trial,
        name: 'property',
      });
      return checkFeedForwardAgainstOracle(context, problem);
    },
  ),
];
