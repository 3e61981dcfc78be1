import { describeValue, type Tensor, TopKError } from '@topk-attention/core';
import { type Run, recomputed } from '@topk-attention/nn';

/** How to apply a model's layers. */
export interface ModelRun extends Run {
  /** Whether each block runs again in the backward pass. Default false. */
  readonly recompute?: boolean;
}

/** A block's output for its inputs, its weights among them: all may be disposed of before the backward pass. */
export function applied<Inputs>(
  run: ModelRun,
  inputs: Inputs,
  block: (run: Run, inputs: Inputs) => Tensor,
): Tensor {
  return run.recompute === true ? recomputed<Run, Inputs>(run, inputs, block) : block(run, inputs);
}

/**
 * How to apply the layers, from the options of a call to `where`.
 *
 * @throws TopKError INVALID_OPTION for a bad budget, checked here so that the error names the called function.
 */
export function runOf(
  where: string,
  {
    training = false,
    seeds,
    trace,
    budgetBytes,
    recompute,
  }: { readonly [name in keyof ModelRun]?: ModelRun[name] | undefined },
): ModelRun {
  if (budgetBytes !== undefined && !(budgetBytes > 0)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad budgetBytes`, {
      expected: 'a positive number of bytes',
      got: describeValue(budgetBytes),
    });
  }
  return {
    training,
    ...(seeds && { seeds }),
    ...(trace && { trace }),
    ...(budgetBytes !== undefined && { budgetBytes }),
    ...(recompute !== undefined && { recompute }),
  };
}
