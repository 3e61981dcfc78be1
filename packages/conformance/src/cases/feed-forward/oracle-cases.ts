import type { Activation, FeedForwardSelect } from '@topk-attention/core';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { checkClose, gradientTolerance } from '../../harness/support/assert.js';
import type { Nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { solve } from './brute-force.js';
import { type FeedForwardProblem, outputShape, run, weightRoles } from './problem.js';

export async function checkFeedForwardAgainstOracle(
  context: Pick<ConformanceContext, 'backend' | 'tolerance'>,
  problem: FeedForwardProblem,
  options: { readonly gradients?: boolean } = {},
): Promise<void> {
  const { backend, tolerance } = context;
  const cotangent =
    (options.gradients ?? true) ? new Random('cotangent').uniform(outputShape(problem)) : undefined;
  const expected = solve(problem, cotangent, backend.capabilities.floatStorage);
  const got = await run(backend, problem);
  checkClose('output', got.output, expected.output, tolerance);
  if (cotangent === undefined) return;
  const trained = await run(backend, problem, cotangent);
  checkClose('output while training', trained.output, expected.output, tolerance);
  for (const role of weightRoles) {
    const wanted = expected.gradients[role];
    if (wanted === undefined) continue;
    checkClose(`gradient of ${role}`, trained.gradients[role] ?? [], wanted, gradientTolerance(tolerance));
  }
}

interface Recipe {
  readonly name: string;
  readonly kept: number;
  readonly activation?: Activation;
  readonly select?: FeedForwardSelect;
  readonly gated?: boolean;
  readonly biased?: boolean;
  readonly shape?: readonly number[];
  readonly hidden?: number;
  readonly tokenChunk?: number;
}

const recipes: readonly Recipe[] = [
  { name: 'relu', kept: 4 },
  { name: 'k = 1', kept: 1 },
  { name: 'k = hidden', kept: 12 },
  { name: 'k > hidden', kept: 99 },
  { name: 'k = hidden - 1', kept: 11 },
  { name: 'biases', kept: 4, biased: true },
  { name: 'gated', kept: 4, gated: true },
  {
    name: 'gated gelu_tanh with biases, by contribution',
    kept: 4,
    gated: true,
    biased: true,
    activation: 'gelu_tanh',
    select: 'contribution',
  },
  { name: 'gelu', kept: 4, activation: 'gelu' },
  { name: 'gelu, by contribution', kept: 4, activation: 'gelu', select: 'contribution' },
  { name: 'gelu_tanh', kept: 4, activation: 'gelu_tanh' },
  { name: 'silu', kept: 4, activation: 'silu' },
  { name: 'silu, by contribution', kept: 4, activation: 'silu', select: 'contribution' },
  { name: 'relu, by contribution', kept: 4, select: 'contribution' },
  { name: 'x of rank 3', kept: 4, shape: [2, 3, 5] },
  { name: 'x of rank 4, gated', kept: 3, shape: [2, 1, 3, 5], gated: true },
  { name: 'one token', kept: 2, shape: [1, 5] },
  { name: 'chunks of 1', kept: 4, tokenChunk: 1, gated: true },
  { name: 'chunks of 4 that do not divide the tokens', kept: 4, tokenChunk: 4, biased: true },
  { name: '300 hidden units, k = 16', kept: 16, hidden: 300 },
  { name: '300 hidden units, k = 280', kept: 280, hidden: 300 },
];

/**
 * Halves: pre-activations are exact, so that every backend keeps the same units. A rank by contribution is not exact,
 * but differs by much more than a rounding, or is equal because the units are.
 */
export function drawFeedForward(random: Random, recipe: Recipe): FeedForwardProblem {
  const { kept, activation = 'relu', select = 'preactivation', hidden = 12, tokenChunk } = recipe;
  const shape = recipe.shape ?? [6, 5];
  const width = shape.at(-1) as number;
  const halves = (extents: readonly number[]): Nd => ({
    shape: extents,
    data: random.integers(extents, -4, 4).data.map((value) => value / 2),
  });
  return {
    x: halves(shape),
    wIn: halves([width, hidden]),
    ...(recipe.biased && { bIn: halves([hidden]), bOut: random.uniform([3]) }),
    ...(recipe.gated && { wGate: halves([width, hidden]) }),
    wOut: select === 'contribution' ? halves([hidden, 3]) : random.uniform([hidden, 3]),
    kept,
    activation,
    select,
    ...(tokenChunk !== undefined && { tokenChunk }),
  };
}

/** Whether no kept contribution is too close to one that is not kept; ties of equal units are allowed. */
function isSelectionSafe(problem: FeedForwardProblem): boolean {
  if (problem.select === 'preactivation') return true;
  const jitter = 1e-4;
  // If scaling each unit's row of wOut by a little changes the output much, some boundary is too close to call.
  const { output } = solve(problem);
  const random = new Random('jitter');
  for (let trial = 0; trial < 8; trial++) {
    const [, columns = 1] = problem.wOut.shape;
    const scales = Array.from(
      { length: problem.wOut.shape[0] as number },
      () => 1 + jitter * (random.next() - 0.5),
    );
    const data = problem.wOut.data.map((value, i) => value * (scales[Math.floor(i / columns)] as number));
    const moved = solve({ ...problem, wOut: { shape: problem.wOut.shape, data } }).output;
    if (moved.some((value, i) => Math.abs(value - (output[i] as number)) > 0.02)) return false;
  }
  return true;
}

export const feedForwardOracleCases: readonly ConformanceCase[] = recipes.map((recipe) => ({
  name: `topKFeedForward: ${recipe.name}`,
  group: 'feed-forward',
  async run(context) {
    for (let attempt = 0; ; attempt++) {
      const problem = drawFeedForward(new Random(`${recipe.name} ${attempt}`), recipe);
      if (isSelectionSafe(problem)) return checkFeedForwardAgainstOracle(context, problem);
    }
  },
}));
