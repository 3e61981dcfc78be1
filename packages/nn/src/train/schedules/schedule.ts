import { TopKError } from '@topk-attention/core';
import type { StepOptions } from '../optimizers/optimizer.js';

/**
 * What an optimiser's step is given, by the number of steps made before it (0 for the first). A pure function, so that a
 * run resumes with nothing but its step count.
 */
export type Schedule = (step: number) => StepOptions;

/** @throws TopKError INVALID_OPTION unless the value is a whole number of at least `least`. */
export function requireSteps(where: string, name: string, value: number, least = 0): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: `a whole number of at least ${least}`,
    got: String(value),
  });
}
