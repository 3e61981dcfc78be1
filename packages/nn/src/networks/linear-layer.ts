import { aBoolean, aFunction, linear, type OptionKinds, readOptions } from '@topk-attention/core';
import { parameterOf } from '../context.js';
import type { Declarations } from '../declared/declaration.js';
import { type Initializer, kaimingUniform, uniform } from '../declared/initializers.js';
import { requireWhole } from '../require.js';
import { defineLayer, type Layer } from './layer.js';
import { requireWidth } from './require-width.js';

export interface LinearLayerOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** For the weight. Default as in PyTorch: uniform within 1 / sqrt(inFeatures), like the bias. */
  readonly initializer?: Initializer;
  /** For the bias. */
  readonly biasInitializer?: Initializer;
}

const kinds: OptionKinds<LinearLayerOptions> = {
  bias: aBoolean,
  initializer: aFunction(),
  biasInitializer: aFunction(),
};

/**
 * x [..., in] -> x weight^T + bias [..., out]. Parameters `weight` [out, in] and `bias` [out], as in PyTorch.
 *
 * @throws TopKError INVALID_OPTION; when applied MISSING_WEIGHT, SHAPE_MISMATCH.
 *
 * @example
 * const layer = linearLayer(3, 2);
 * const y = layer.apply(contextOf(initialize(backend, layer, 42)), tensor(backend, [1, 2, 3], [1, 3]));
 */
export function linearLayer(inFeatures: number, outFeatures: number, options?: LinearLayerOptions): Layer {
  requireWhole('linearLayer', 'inFeatures', inFeatures, 1);
  requireWhole('linearLayer', 'outFeatures', outFeatures, 1);
  const {
    bias = true,
    initializer = kaimingUniform({ slope: Math.sqrt(5) }),
    biasInitializer = uniform(1 / Math.sqrt(inFeatures)),
  } = readOptions('linearLayer', options, kinds);
  const parameters: Declarations = {
    weight: { shape: [outFeatures, inFeatures], initializer },
    ...(bias && { bias: { shape: [outFeatures], initializer: biasInitializer } }),
  };
  return defineLayer({ '': { parameters } }, (context, x) => {
    requireWidth(context, x, inFeatures);
    const of = (name: string) => parameterOf(context, name);
    return linear(x, of('weight'), bias ? of('bias') : undefined, { transposeWeight: true });
  });
}
