import type { ConformanceContext } from '../../harness/case.js';
import {
  check,
  checkClose,
  checkEqual,
  gradientTolerance,
  type Tolerance,
} from '../../harness/support/assert.js';
import type { Nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { type Solution, solve } from './brute-force.js';
import {
  type AttentionAnswer,
  type AttentionProblem,
  gradientRoles,
  outputShape,
  run,
  slotsOf,
} from './problem.js';

/** Rows whose kept keys are defined: those without a NaN score. */
function rowsWithoutNaN(scores: ArrayLike<number>, k: number): boolean[] {
  return Array.from({ length: scores.length / k }, (_, row) => {
    for (let slot = 0; slot < k; slot++) if (Number.isNaN(scores[row * k + slot] as number)) return false;
    return true;
  });
}

/** Kept keys are equal in every row without a NaN score. Extra slots of `expected` have to be empty. */
export function checkIndices(
  got: readonly number[],
  expected: ArrayLike<number>,
  expectedSlots: number,
  slots: number,
  isDefined: readonly boolean[],
): void {
  isDefined.forEach((defined, row) => {
    if (!defined) return;
    const mine = got.slice(row * slots, (row + 1) * slots);
    const wanted = Array.from(
      { length: expectedSlots },
      (_, slot) => expected[row * expectedSlots + slot] as number,
    );
    check(
      wanted.slice(slots).every((index) => index === -1),
      `conformance: row ${row} of the expectation keeps more than ${slots} keys`,
    );
    checkEqual(`kept keys of row ${row}`, mine, wanted.slice(0, slots));
  });
}

/**
 * Checks every expected gradient except elements that the contract leaves open. With `isKindOpen` NaN and both
 * infinities count as one: which of them a sum of infinities gives may depend on its order.
 */
export function checkGradients(
  got: AttentionAnswer['gradients'],
  expected: AttentionAnswer['gradients'],
  tolerance: Tolerance,
  open: Solution['open'] = {},
  isKindOpen = false,
): void {
  for (const role of gradientRoles) {
    const wanted = expected[role];
    if (wanted === undefined) continue;
    const mine = (got[role] ?? []).map((value, i) => {
      const one = wanted[i] as number;
      const isLoud = isKindOpen && !Number.isFinite(value) && !Number.isFinite(one);
      return open[role]?.[i] || isLoud ? one : value;
    });
    checkClose(`gradient of ${role}`, mine, wanted, gradientTolerance(tolerance));
  }
}

/** A cotangent without structure, the same for the same problem shape. */
export function cotangentOf(problem: AttentionProblem): Nd {
  return new Random('cotangent').uniform(outputShape(problem));
}

/** Checks output, kept keys and, unless told otherwise, all gradients against brute force. */
export async function checkAgainstOracle(
  context: Pick<ConformanceContext, 'backend' | 'tolerance'>,
  problem: AttentionProblem,
  options: { readonly gradients?: boolean; readonly cotangent?: Nd } = {},
): Promise<void> {
  const { backend, tolerance } = context;
  const isDifferentiated = options.gradients ?? true;
  const cotangent = isDifferentiated ? (options.cotangent ?? cotangentOf(problem)) : undefined;
  const expected = solve(problem, cotangent, backend.capabilities.floatStorage);
  const got = await run(backend, problem);
  if (expected.indices !== undefined) {
    const slots = slotsOf(problem);
    const isDefined = rowsWithoutNaN(expected.scores, slots);
    checkIndices(got.indices ?? [], expected.indices, slots, slots, isDefined);
  }
  checkClose('output', got.output, expected.output, tolerance);
  if (cotangent === undefined) return;
  const trained = await run(backend, problem, cotangent);
  checkClose('output while training', trained.output, expected.output, tolerance);
  checkGradients(trained.gradients, expected.gradients, tolerance, expected.open, true);
}
