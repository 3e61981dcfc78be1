import { add, crossEntropy, scope, type Tensor } from '@topk-attention/core';
import { contextOf, type Layer, type ParameterTree, type Seeds, withLosses } from '@topk-attention/nn';
import type { Documents } from '../model/classifier.js';

/** A batch on the engine. */
export type Inputs = {
  readonly documents: Documents;
  /** i32 [B] */
  readonly labels: Tensor;
};

/** The scalar that a step of training lowers: cross-entropy, and the losses of the mechanism's own where it has any. */
export function trainingLoss(
  model: Layer<readonly [documents: Documents]>,
  of: ParameterTree,
  { documents, labels }: Inputs,
  seeds: Seeds,
): Tensor {
  return scope(() => {
    const { output, loss } = withLosses(contextOf(of, { training: true, seeds }), (context) =>
      crossEntropy(model.apply(context, documents), labels),
    );
    return loss === undefined ? output : add(output, loss);
  });
}
