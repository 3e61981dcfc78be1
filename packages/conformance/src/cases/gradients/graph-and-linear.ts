import type { Backend } from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { checkClose } from '../../harness/support/assert.js';
import type { Ran } from '../../harness/support/differentiate.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { type GraphProblem, outputShape as graphShape, run as runGraph } from '../attention/graph/problem.js';
import {
  type LinearProblem,
  outputShape as linearShape,
  run as runLinear,
} from '../attention/linear/problem.js';
import { differences, onlyExact, weighted } from './finite-differences.js';

function graphProblems(): Readonly<Record<string, GraphProblem>> {
  const random = new Random('finite differences of a graph');
  const base = {
    q: random.uniform([1, 2, 4, 3]),
    k: random.uniform([1, 1, 5, 3]),
    v: random.uniform([1, 1, 5, 2]),
    graph: nd([1, 2, 4, 4], () => random.integer(-1, 4)),
  };
  return {
    plain: base,
    'causal, a bias that heads share, chunks': {
      ...base,
      bias: random.uniform([1, 1, 4, 4]),
      options: { causal: true, queryChunk: 3, scale: 0.8 },
    },
    'lengths, a bias of entries, a shared graph': {
      ...base,
      graph: nd([1, 1, 4, 6], () => random.integer(-1, 4)),
      bias: random.uniform([1, 2, 1, 6]),
      keyLengths: list(4),
    },
  };
}

function linearProblems(): Readonly<Record<string, LinearProblem>> {
  const random = new Random('finite differences of features');
  const positive = (...shape: number[]): Nd => nd(shape, () => 0.25 + random.next());
  const base = {
    queryFeatures: positive(1, 2, 4, 3),
    keyFeatures: positive(1, 1, 5, 3),
    value: random.uniform([1, 1, 5, 2]),
  };
  const state = { sums: random.uniform([1, 1, 3, 2]), total: positive(1, 1, 3) };
  const scales = { keyLogScale: nd([1, 1, 5], () => random.integer(-8, 8) / 4) };
  return {
    plain: base,
    'an epsilon, lengths': { ...base, keyLengths: list(4), options: { epsilon: 0.3 } },
    'not normalised, causal, a state': {
      ...base,
      ...state,
      options: { normalise: false, causal: true, chunk: 3 },
    },
    'log scales': { ...base, ...scales },
    'causal, log scales, a state': {
      ...base,
      ...state,
      ...scales,
      logScale: nd([1, 1], () => 0.5),
      options: { causal: true, chunk: 2 },
    },
    'a least divisor that some rows reach': {
      ...base,
      queryFeatures: random.uniform([1, 2, 4, 3]),
      options: { leastDenominator: 0.7, causal: true, chunk: 2 },
    },
  };
}

/** One case: the gradients of every input against differences of the operation's own output. */
function finiteDifferences<Problem extends object, Role extends string>(
  name: string,
  problem: Problem & { readonly [role in Role]?: Nd },
  run: (backend: Backend, problem: Problem, cotangent?: Nd) => Promise<Ran<Role>>,
  shape: readonly number[],
): ConformanceCase {
  return {
    name: `finite differences: ${name}`,
    group: 'gradients',
    notFor: onlyExact,
    async run({ backend }) {
      const cotangent = new Random('cotangent').uniform(shape);
      const { gradients } = await run(backend, problem, cotangent);
      for (const [role, gradient] of Object.entries<readonly number[] | undefined>(gradients)) {
        const expected = await differences(problem[role as Role] as Nd, async (moved) =>
          weighted((await run(backend, { ...problem, [role]: moved })).output, cotangent),
        );
        checkClose(`gradient of ${role}`, gradient ?? [], expected, { absolute: 1e-8, relative: 1e-7 });
      }
    },
  };
}

export const graphAndLinearDifferenceCases: readonly ConformanceCase[] = [
  ...Object.entries(graphProblems()).map(([name, problem]) =>
    finiteDifferences(`graph attention, ${name}`, problem, runGraph, graphShape(problem)),
  ),
  ...Object.entries(linearProblems()).map(([name, problem]) =>
    finiteDifferences(`linear attention, ${name}`, problem, runLinear, linearShape(problem)),
  ),
];
