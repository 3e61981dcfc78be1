import { describeValue, TopKError } from '@topk-attention/core';
import type { T5Run } from './stacks.js';

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
  }: { readonly [name in keyof T5Run]?: T5Run[name] | undefined },
): T5Run {
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
