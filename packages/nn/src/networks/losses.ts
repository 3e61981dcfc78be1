import { add, scope, type Tensor } from '@topk-attention/core';
import type { Context } from '../context.js';

/**
 * Applies layers and collects what they add to the loss, such as an attention mechanism's penalty.
 *
 * @returns what `apply` returned, and the sum of the losses, shape [], or undefined if there were none
 *
 * @example
 * const layer = attentionLayer({ width: 8, heads: 2 });
 * const x = tensor(backend, new Float32Array(40), [1, 5, 8]);
 * const context = contextOf(initialize(backend, layer, 42));
 * const { output, loss } = withLosses(context, (inner) => layer.apply(inner, x));
 */
export function withLosses(
  context: Context,
  apply: (context: Context) => Tensor,
): { readonly output: Tensor; readonly loss: Tensor | undefined } {
  const losses: Tensor[] = [];
  try {
    return scope(() => {
      const output = apply({ ...context, onLoss: (_path, loss) => losses.push(loss) });
      const [first, ...others] = losses;
      return { output, loss: first && others.reduce((total, one) => add(total, one), first.alias()) };
    });
  } finally {
    for (const loss of losses) loss.dispose();
  }
}
