import { scope, type Tensor, where } from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';
import { averageBy } from './average.js';
import type { LossScaleState } from './loss-scale.js';
import { numbersNow } from './mixed.js';

/**
 * The average after a step; empty in a run that keeps none.
 *
 * @param averaging, skipped inputs of the step
 * @param scaled with a loss scale: its state before the step, and whether the step is taken, bool []
 */
export function nextAverage(
  average: ParameterTree,
  parameters: ParameterTree,
  { averaging, skipped }: { readonly averaging: readonly Tensor[]; readonly skipped: readonly Tensor[] },
  scaled?: { readonly scaling: LossScaleState; readonly isFinite: Tensor },
): ParameterTree {
  const [numbers, unchanged] = averaging;
  if (numbers === undefined) return {};
  if (scaled === undefined) return averageBy(average, parameters, numbers);
  return scope(() => {
    const taken = numbersNow(numbers, skipped[0] as Tensor, scaled.scaling);
    return averageBy(average, parameters, where(scaled.isFinite, taken, unchanged as Tensor));
  });
}
