import { add, cast, mul, scope, sumSquares, type Tensor, valueAndGrad } from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import { requireTensor } from '../require.js';

export interface StepGradients {
  readonly loss: Tensor;
  readonly gradients: ParameterTree;
  /** Sum of squares of each gradient, [n] in their order: locates non-finite gradients. */
  readonly squares: Tensor;
  readonly norm: Tensor;
}

/**
 * Loss and gradients of the weighted mean over micro-batches, computed one after the other, each freed before the next.
 *
 * @param loss the mean loss of the micro-batch with that index
 * @param widened what is added up where there are several, made of the gradients, which it may dispose of; default:
 * themselves
 * @param weights the weight of each in the mean, shape []; if empty, there is a single micro-batch
 */
export function stepGradients(
  loss: (parameters: ParameterTree, index: number) => Tensor,
  parameters: ParameterTree,
  weights: readonly Tensor[],
  widened: (gradients: ParameterTree) => ParameterTree = (gradients) => gradients,
): StepGradients {
  const ofLoss = valueAndGrad((of: ParameterTree, index: number) => {
    const value = loss(of, index);
    requireTensor('train', 'what loss returns', value);
    const weight = weights[index];
    return weight === undefined ? value : mul(value, cast(weight, value.dtype));
  });
  const both = (of: ParameterTree, index: number) => {
    const { value, gradients } = ofLoss(of, index);
    return { value, gradients: weights.length > 1 ? widened(gradients) : gradients };
  };
  return scope(() => {
    let { value, gradients } = both(parameters, 0);
    for (let index = 1; index < weights.length; index++) {
      const next = both(parameters, index);
      const summed = scope(() => ({
        value: add(value, next.value),
        gradients: Object.fromEntries(
          Object.entries(gradients).map(([name, g]) => [name, add(g, next.gradients[name] as Tensor)]),
        ),
      }));
      for (const old of [gradients, next.gradients, { value, next: next.value }]) disposeParameters(old);
      ({ value, gradients } = summed);
    }
    const { sums: squares, norm } = sumSquares(Object.values(gradients));
    return { loss: value, gradients, squares, norm };
  });
}

/** Every gradient times a factor []. */
export function scaledBy(gradients: ParameterTree, factor: Tensor): ParameterTree {
  return scope(() =>
    Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, mul(g, factor)])),
  );
}
