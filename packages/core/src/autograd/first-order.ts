import { TopKError } from '../contract/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { custom } from './custom.js';

/**
 * Runs a backward half that has no gradient of its own. A tape open around it records an op that throws
 * NOT_DIFFERENTIABLE as soon as a gradient arrives there, so that a gradient of a gradient is never silently wrong.
 *
 * @param inputs what the gradients depend on: the inputs of the op, and the cotangent of its output
 */
export function firstOrder(
  name: string,
  inputs: readonly Tensor[],
  backward: () => readonly Tensor[],
): readonly Tensor[] {
  return custom(
    `${name}.backward`,
    inputs,
    () => ({ outputs: backward(), saved: [] }),
    () => {
      throw new TopKError('NOT_DIFFERENTIABLE', `${name}: second-order gradients are not supported`, {
        expected: 'first-order gradients only',
        got: 'grad, valueAndGrad or pullback of a function that uses a gradient of it',
        fix: 'Compose the layer from matmul and softmax to get second-order gradients',
      });
    },
  );
}
