import { cast, div, gatherRows, reshape, scope, sub, type Tensor } from '@topk-attention/core';
import { castTree } from '../cast-all.js';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import { requireTensor } from '../require.js';
import { type StepGradients, stepGradients } from './gradients.js';
import type { LossScale, LossScaleState } from './loss-scale.js';

/**
 * `stepGradients` with a loss of f16 copies of the parameters: gradients and squares are times the loss scale. Gradients of
 * a single micro-batch are f16.
 */
export function mixedGradients(
  loss: (parameters: ParameterTree, index: number) => Tensor,
  parameters: ParameterTree,
  weights: readonly Tensor[],
  lossScale: LossScale,
  scaling: LossScaleState,
): StepGradients {
  return scope(() => {
    const scaledLoss: typeof loss = (p, index) =>
      scope(() => {
        const own = loss(p, index);
        requireTensor('train', 'what loss returns', own);
        return lossScale.scaled(own, scaling);
      });
    const halves = castTree(parameters, 'f16');
    const made = stepGradients(scaledLoss, halves, weights, widened);
    disposeParameters(halves);
    return { ...made, loss: div(made.loss, scaling.scale), norm: div(made.norm, scaling.scale) };
  });
}

/** f32 copies of gradients, which are freed. */
function widened(gradients: ParameterTree): ParameterTree {
  const wide = castTree(gradients, 'f32');
  disposeParameters(gradients);
  return wide;
}

/**
 * An optimiser's numbers [n] for a step, with the skipped steps that only the device knows about.
 *
 * @param rows numbers if none of the steps whose outcome is not known yet was skipped, if one was, and so on: [1, m, n]
 * @param known steps known to be skipped, f32 []
 */
export function numbersNow(rows: Tensor, known: Tensor, { skippedSteps }: LossScaleState): Tensor {
  return scope(() => {
    const row = reshape(cast(sub(skippedSteps, known), 'i32'), [1, 1]);
    return reshape(gatherRows(rows, row), [rows.shape[2] as number]);
  });
}
