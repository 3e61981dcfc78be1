import { add, mul, scope, sqrt, sum, type Tensor, TopKError, valueAndGrad } from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '../parameters.js';

/** What a loss is told besides parameters and batch. */
export interface LossContext {
  /** Optimiser steps made before. */
  readonly step: number;
  /** Of this step and micro-batch: for dropout. */
  readonly seed: number;
}

/** The mean loss of a batch, shape []. */
export type Loss<Batch> = (parameters: ParameterTree, batch: Batch, context: LossContext) => Tensor;

export interface WeighedBatch<Batch> {
  readonly batch: Batch;
  /** Its part in the mean over all batches of the step, such as its number of targets. */
  readonly weight: number;
}

export interface StepGradients {
  readonly loss: Tensor;
  readonly gradients: ParameterTree;
  /** Sum of squares of each gradient, shape []: their norm, and the place where one is not finite. */
  readonly squares: ParameterTree;
  readonly norm: Tensor;
}

/**
 * Loss and gradients of the weighted mean over batches, of the trainable parameters. Micro-batches are computed one after
 * the other, each freed before the next.
 */
export function stepGradients<Batch>(
  loss: Loss<Batch>,
  parameters: ParameterTree,
  isTrainable: (name: string) => boolean,
  batches: readonly WeighedBatch<Batch>[],
  contextOf: (index: number) => LossContext,
): StepGradients {
  const entries = Object.entries(parameters);
  const trainable = Object.fromEntries(entries.filter(([name]) => isTrainable(name)));
  if (Object.keys(trainable).length === 0) {
    throw new TopKError('INVALID_OPTION', 'train: no parameter is trainable', {
      expected: 'at least one name that `trainable` takes',
      got: 'none',
    });
  }
  const total = batches.reduce((all, { weight }) => all + weight, 0);
  const both = valueAndGrad((of: ParameterTree, index: number) => {
    const { batch, weight } = batches[index] as WeighedBatch<Batch>;
    return mul(loss({ ...parameters, ...of }, batch, contextOf(index)), weight / total);
  });
  return scope(() => {
    let { value, gradients } = both(trainable, 0);
    for (let index = 1; index < batches.length; index++) {
      const next = both(trainable, index);
      const summed = scope(() => ({
        value: add(value, next.value),
        gradients: Object.fromEntries(
          Object.entries(gradients).map(([name, g]) => [name, add(g, next.gradients[name] as Tensor)]),
        ),
      }));
      for (const old of [gradients, next.gradients, { value, next: next.value }]) disposeParameters(old);
      ({ value, gradients } = summed);
    }
    const squares = Object.fromEntries(
      Object.entries(gradients).map(([name, g]) => [name, scope(() => sum(mul(g, g)))]),
    );
    const norm = scope(() => sqrt(Object.values(squares).reduce((all, one) => add(all, one))));
    return { loss: value, gradients, squares, norm };
  });
}
