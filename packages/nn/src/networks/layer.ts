import { scope, type Tensor } from '@topk-attention/core';
import type { Context } from '../context.js';
import { type Declared, declarationsOf } from '../declared/declaration.js';

/**
 * A layer as a value: built once from a configuration, it declares which parameters it needs and is applied to them. It
 * holds no tensors or state, so the same value serves training, evaluation and several sets of parameters.
 */
export interface Layer<Inputs extends readonly unknown[] = readonly [x: Tensor]> extends Declared {
  apply(context: Context, ...inputs: Inputs): Tensor;
}

/**
 * A layer composed of parts. `apply` calls each part with `within(context, name)`; intermediates are freed.
 *
 * @param parts by name, which prefixes the names of their parameters; a part named '' adds no prefix
 * @throws TopKError INVALID_OPTION if two parts declare the same name.
 *
 * @example
 * const parts = { linear1: linearLayer(8, 16), linear2: linearLayer(16, 8) };
 * const layer = defineLayer(parts, (context, x: Tensor) =>
 *   parts.linear2.apply(within(context, 'linear2'), parts.linear1.apply(within(context, 'linear1'), x)),
 * );
 */
export function defineLayer<Inputs extends readonly unknown[]>(
  parts: { readonly [name: string]: Declared },
  apply: (context: Context, ...inputs: Inputs) => Tensor,
): Layer<Inputs> {
  return {
    parameters: declarationsOf(parts),
    apply: (context, ...inputs) => scope(() => apply(context, ...inputs)),
  };
}
