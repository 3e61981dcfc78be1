import { scope, type Tensor } from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import { scaledBy } from './gradients.js';
import type { Optimizer, OptimizerState, StepPlan } from './optimizers/optimizer.js';

/**
 * An optimiser's update with gradients times a scale []: the update's own multiplication if it declares that it takes a
 * scale, otherwise one before it, which frees the gradients given.
 */
export function updateScaled(
  optimizer: Pick<Optimizer, 'update'>,
  parameters: ParameterTree,
  gradients: ParameterTree,
  tensors: OptimizerState['tensors'],
  plan: Pick<StepPlan, 'numbersAt'>,
  numbers: Tensor,
  scale: Tensor | undefined,
): ReturnType<Optimizer['update']> {
  // By what it declares, not by a property: an optimiser that spreads another has its properties, with its own update.
  if (scale === undefined || optimizer.update.length >= 6) {
    return optimizer.update(parameters, gradients, tensors, plan, numbers, scale);
  }
  return scope(() => {
    const scaled = scaledBy(gradients, scale);
    disposeParameters(gradients);
    return optimizer.update(parameters, scaled, tensors, plan, numbers);
  });
}
