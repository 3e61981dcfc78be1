import { scope, type Tensor } from '@topk-attention/core';
import { castTree } from '../cast-all.js';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import { scaledBy } from './gradients.js';
import type { Optimizer, OptimizerState, StepPlan } from './optimizers/optimizer.js';

/** Whether an optimiser's update can leave everything as it is, and takes gradients of f16. */
export const canRefrain = ({ update }: Pick<Optimizer, 'update'>): boolean => update.length >= 7;

/**
 * An optimiser's update with gradients times a scale []: the update's own multiplication if it declares that it takes a
 * scale, otherwise one before it, which frees the gradients given. So does a cast to f32 for an update that does not declare
 * `taken`; what that says is then the caller's to obey.
 */
export function updateScaled(
  optimizer: Pick<Optimizer, 'update'>,
  parameters: ParameterTree,
  gradients: ParameterTree,
  tensors: OptimizerState['tensors'],
  plan: Pick<StepPlan, 'numbersAt'>,
  numbers: Tensor,
  scale: Tensor | undefined,
  taken?: Tensor,
): ReturnType<Optimizer['update']> {
  // By what it declares, not by a property: an optimiser that spreads another has its properties, with its own update.
  if (canRefrain(optimizer)) {
    return optimizer.update(parameters, gradients, tensors, plan, numbers, scale, taken);
  }
  const takesScale = optimizer.update.length >= 6;
  return scope(() => {
    let own = gradients;
    if (taken !== undefined) {
      own = castTree(gradients, 'f32');
      disposeParameters(gradients);
    }
    if (scale === undefined || takesScale) {
      return optimizer.update(parameters, own, tensors, plan, numbers, scale);
    }
    const scaled = scaledBy(own, scale);
    disposeParameters(own);
    return optimizer.update(parameters, scaled, tensors, plan, numbers);
  });
}
