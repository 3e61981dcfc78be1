import type { ConformanceCase } from '../../harness/case.js';
import { checkClose } from '../../harness/support/assert.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { solve } from '../attention/brute-force.js';
import { cotangentOf } from '../attention/check.js';
import { roundedScores } from '../attention/draw.js';
import { type AttentionProblem, gradientRoles, run } from '../attention/problem.js';
import { solve as solveFeedForward } from '../feed-forward/brute-force.js';
import { type FeedForwardProblem, run as runFeedForward } from '../feed-forward/problem.js';

const STEP = 1e-5;

/** (f(x + h) - f(x - h)) / 2h for every element of x, of the sum of the output times the cotangent. */
export async function differences(x: Nd, lossAt: (moved: Nd) => Promise<number>): Promise<number[]> {
  const gradient: number[] = [];
  for (let i = 0; i < x.data.length; i++) {
    const moved = (by: number): Nd => nd(x.shape, (_, at) => (x.data[at] as number) + (at === i ? by : 0));
    const [above, below] = [await lossAt(moved(STEP)), await lossAt(moved(-STEP))];
    gradient.push((above - below) / (2 * STEP));
  }
  return gradient;
}

export function weighted(output: readonly number[], cotangent: Nd): number {
  return output.reduce((sum, value, i) => sum + value * (cotangent.data[i] as number), 0);
}

const geometry = {
  batch: 1,
  queryHeads: 2,
  keyHeads: 1,
  queryLength: 4,
  keyLength: 6,
  headDim: 3,
  valueDim: 2,
};

function attentionProblems(): Record<string, AttentionProblem> {
  const random = new Random('finite differences');
  const base = roundedScores(random, geometry);
  const table = { table: random.uniform([8, 2]), relative: { bidirectional: true, maxDistance: 16 } };
  return {
    'top-k': { ...base, kept: 3 },
    exact: { ...base, kept: 'all' },
    'top-k, causal, with biases': {
      ...base,
      kept: 2,
      causal: true,
      bias: random.uniform([1, 2, 1, 6]),
      ...table,
    },
    'exact, lengths, with biases': {
      ...base,
      kept: 'all',
      keyLengths: list(4),
      bias: random.uniform([1, 1, 4, 6]),
      ...table,
    },
    'top-k, causal, queries placed, a relative bias': {
      ...base,
      kept: 2,
      causal: true,
      queryStart: 1,
      ...table,
    },
    'exact, queries placed, a relative bias': { ...base, kept: 'all', queryStart: 3, ...table },
    'top-k, dropout, chunks': { ...base, kept: 4, dropout: { rate: 0.3, seed: 4 }, queryChunk: 3 },
    'exact, dropout, chunks': { ...base, kept: 'all', dropout: { rate: 0.3, seed: 4 }, queryChunk: 3 },
  };
}

function feedForwardProblems(): Record<string, FeedForwardProblem> {
  const random = new Random('finite differences');
  const problem = (
    gated: boolean,
    rest: Pick<FeedForwardProblem, 'activation' | 'select' | 'kept'>,
  ): FeedForwardProblem => ({
    x: random.uniform([3, 4]),
    wIn: random.uniform([4, 7]),
    bIn: random.uniform([7]),
    ...(gated && { wGate: random.uniform([4, 7]) }),
    wOut: random.uniform([7, 2]),
    bOut: random.uniform([2]),
    ...rest,
  });
  return {
    relu: problem(false, { activation: 'relu', select: 'preactivation', kept: 3 }),
    gelu: problem(false, { activation: 'gelu', select: 'preactivation', kept: 3 }),
    'gated gelu_tanh by contribution': problem(true, {
      activation: 'gelu_tanh',
      select: 'contribution',
      kept: 3,
    }),
    'gated silu, all units': problem(true, { activation: 'silu', select: 'preactivation', kept: 7 }),
  };
}

export const onlyExact: NonNullable<ConformanceCase['notFor']> = ({ floatStorage }) =>
  floatStorage === 'f64' ? undefined : 'stores 32 bits, too few for finite differences';

/** Checks both the layer under test and the oracle against differences of the layer's own output, in f64. */
export const finiteDifferenceCases: readonly ConformanceCase[] = [
  ...Object.entries(attentionProblems()).map(
    ([name, problem]): ConformanceCase => ({
      name: `finite differences: attention, ${name}`,
      group: 'gradients',
      notFor: onlyExact,
      async run({ backend }) {
        const cotangent = cotangentOf(problem);
        const { gradients } = await run(backend, problem, cotangent);
        const oracle = solve(problem, cotangent).gradients;
        for (const role of gradientRoles) {
          const x = problem[role];
          if (x === undefined) continue;
          const expected = await differences(x, async (moved) =>
            weighted((await run(backend, { ...problem, [role]: moved })).output, cotangent),
          );
          const tolerance = { absolute: 1e-8, relative: 1e-7 };
          checkClose(`gradient of ${role}`, gradients[role] ?? [], expected, tolerance);
          checkClose(`the oracle's gradient of ${role}`, oracle[role] ?? [], expected, tolerance);
        }
      },
    }),
  ),
  ...Object.entries(feedForwardProblems()).map(
    ([name, problem]): ConformanceCase => ({
      name: `finite differences: feed-forward, ${name}`,
      group: 'gradients',
      notFor: onlyExact,
      async run({ backend }) {
        const cotangent = new Random('cotangent').uniform([3, 2]);
        const { gradients } = await runFeedForward(backend, problem, cotangent);
        const oracle = solveFeedForward(problem, cotangent).gradients;
        for (const role of ['x', 'wIn', 'bIn', 'wGate', 'wOut', 'bOut'] as const) {
          const x = problem[role];
          if (x === undefined) continue;
          const expected = await differences(x, async (moved) =>
            weighted((await runFeedForward(backend, { ...problem, [role]: moved })).output, cotangent),
          );
          const tolerance = { absolute: 1e-8, relative: 1e-7 };
          checkClose(`gradient of ${role}`, gradients[role] ?? [], expected, tolerance);
          checkClose(`the oracle's gradient of ${role}`, oracle[role] ?? [], expected, tolerance);
        }
      },
    }),
  ),
];
