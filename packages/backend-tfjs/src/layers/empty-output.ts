import type { TfTensor } from '../tf.js';
import type { FullTf, LayerVariable } from './full-tf.js';

/**
 * The output of a layer on a batch of 0 or on no tokens: empty, with zero gradients for the inputs and weights. Uses
 * no ops of tf, whose wasm engine divides by the extent when it transposes an empty tensor.
 */
export function emptyOutput(
  tf: FullTf,
  shape: readonly number[],
  inputs: readonly TfTensor[],
  weights: readonly LayerVariable[],
): TfTensor {
  const operands = [...inputs, ...weights.map((weight) => weight.read())];
  return tf.customGrad(() => ({
    value: tf.zeros([...shape]),
    gradFunc: () => operands.map((one) => tf.zeros(one.shape)),
  }))(...operands);
}

/** Whether there is nothing to compute on inputs of a shape [batch, ...]. */
export function isEmpty(shape: readonly number[]): boolean {
  return shape.slice(0, -1).includes(0);
}
