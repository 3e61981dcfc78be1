import { describeValue, TopKError } from '@topk-attention/core';
import type { Run } from '@topk-attention/nn';

/**
 * How the layers are applied, from the options of a call of `where`.
 *
 * @throws TopKError INVALID_OPTION for a bad budget: here, so that the error names the function that was called.
 */
export function runOf(
  where: string,
  { training = false, seeds, trace, budgetBytes }: { readonly [name in keyof Run]?: Run[name] | undefined },
): Run {
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
  };
}
