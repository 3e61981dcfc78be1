import { aFunction, type OptionKinds, readOptions, type Tensor } from '@topk-attention/core';
import { parameterOf } from '../context.js';
import { type Initializer, normal } from '../declared/initializers.js';
import { embedding } from '../layers/embedding.js';
import { requireWhole } from '../require.js';
import { defineLayer, type Layer } from './layer.js';

export interface EmbeddingLayerOptions {
  /** Default as in PyTorch: N(0, 1). */
  readonly initializer?: Initializer;
}

const kinds: OptionKinds<EmbeddingLayerOptions> = { initializer: aFunction() };

/**
 * ids i32 [...] -> rows of a table [..., width]. Parameter `weight` [rows, width]. Id -1 gives zeros, any other id
 * outside the table NaN. A `linearLayer(width, rows, { bias: false })` applied at the same path ties an output
 * projection to it.
 *
 * @throws TopKError INVALID_OPTION; when applied MISSING_WEIGHT, DTYPE_MISMATCH.
 *
 * @example
 * const layer = embeddingLayer(10, 4);
 * const ids = tensor(backend, Int32Array.of(3, 1), [1, 2]);
 * const x = layer.apply(contextOf(initialize(backend, layer, 42)), ids);
 */
export function embeddingLayer(
  rows: number,
  width: number,
  options?: EmbeddingLayerOptions,
): Layer<readonly [ids: Tensor]> {
  requireWhole('embeddingLayer', 'rows', rows, 1);
  requireWhole('embeddingLayer', 'width', width, 1);
  const { initializer = normal() } = readOptions('embeddingLayer', options, kinds);
  const parameters = { weight: { shape: [rows, width], initializer } };
  return defineLayer({ '': { parameters } }, (context, ids: Tensor) =>
    embedding(parameterOf(context, 'weight'), ids),
  );
}
