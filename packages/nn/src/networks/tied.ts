import { formatShape, TopKError } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import { parameterOf } from '../context.js';
import { type Declaration, joinNames } from '../declared/declaration.js';
import type { Layer } from './layer.js';

/**
 * Ties parameters of a layer: a copy and its original are one tensor, with one gradient, and only the original is in
 * the tree. Files may hold the copies as well, or only the copies. Only this layer's `apply` knows the copies' names: a
 * part that is applied by itself, as when decoding, goes by the original's path. Below that is
 * `parts.head.apply(within(context, 'embed'), x)`.
 *
 * Embeddings begin as N(0, 1), as in PyTorch. A table that makes logits as well wants smaller values, such as GPT-2's.
 *
 * @param copies maps the name of each copy to the name of its original, which has the same shape
 * @throws TopKError INVALID_OPTION for names that the layer lacks and originals that are copies, SHAPE_MISMATCH.
 *
 * @example
 * import { initializers } from '@topk-attention/nn';
 *
 * const embed = embeddingLayer(10, 4, { initializer: initializers.normal(0.02) });
 * const parts = { embed, head: linearLayer(4, 10, { bias: false }) };
 * const model = defineLayer(parts, (context, ids: Tensor) =>
 *   parts.head.apply(within(context, 'head'), parts.embed.apply(within(context, 'embed'), ids)),
 * );
 * const tied = tiedLayer(model, { 'head.weight': 'embed.weight' });
 */
export function tiedLayer<Inputs extends readonly unknown[]>(
  layer: Layer<Inputs>,
  copies: { readonly [copy: string]: string },
): Layer<Inputs> {
  const parameters: { [name: string]: Declaration } = Object.fromEntries(
    Object.entries(layer.parameters).filter(([name]) => !Object.hasOwn(copies, name)),
  );
  for (const [copy, original] of Object.entries(copies)) {
    const [from, to] = [requireName(layer.parameters, copy), requireName(parameters, original)];
    if (!sameShape(from.shape, to.shape)) {
      throw new TopKError('SHAPE_MISMATCH', `tiedLayer: ${copy} and ${original} differ in shape`, {
        expected: formatShape(to.shape),
        got: formatShape(from.shape),
      });
    }
    parameters[original] = { ...to, aliases: [...(to.aliases ?? []), copy, ...(from.aliases ?? [])] };
  }
  return {
    parameters,
    apply: (context, ...inputs) => {
      const shared = Object.entries(copies).map(([copy, original]) => [
        joinNames(context.path, copy),
        parameterOf(context, original),
      ]);
      return layer.apply(
        { ...context, parameters: { ...context.parameters, ...Object.fromEntries(shared) } },
        ...inputs,
      );
    },
  };
}

function requireName(parameters: { readonly [name: string]: Declaration }, name: string): Declaration {
  const found = parameters[name];
  if (found !== undefined) return found;
  throw new TopKError('INVALID_OPTION', 'tiedLayer: no such parameter', {
    expected: Object.keys(parameters).join(', '),
    got: name,
  });
}
