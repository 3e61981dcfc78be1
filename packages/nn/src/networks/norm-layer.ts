import {
  aBoolean,
  aNumber,
  layerNorm,
  type OptionKinds,
  oneOf,
  readOptions,
  rmsNorm,
} from '@topk-attention/core';
import { parameterOf } from '../context.js';
import type { Declarations } from '../declared/declaration.js';
import { ones, zeros } from '../declared/initializers.js';
import { requireWhole } from '../require.js';
import { defineLayer, type Layer } from './layer.js';
import { requireWidth } from './require-width.js';

export interface NormLayerOptions {
  /** Over the last axis: by mean and deviation, or by root mean square (T5, LLaMA). Default 'layerNorm'. */
  readonly kind?: 'layerNorm' | 'rmsNorm';
  /** Default 1e-5 for 'layerNorm', 1e-6 for 'rmsNorm'. */
  readonly epsilon?: number;
  /** Only for 'layerNorm'. Default true. */
  readonly bias?: boolean;
}

export const normKinds: OptionKinds<NormLayerOptions> = {
  kind: oneOf('layerNorm', 'rmsNorm'),
  epsilon: aNumber,
  bias: aBoolean,
};

/**
 * x [..., width] normalised over its last axis. Parameters `weight` [width] and, for 'layerNorm', `bias` [width].
 *
 * @throws TopKError INVALID_OPTION; when applied MISSING_WEIGHT, SHAPE_MISMATCH.
 *
 * @example
 * const layer = normLayer(8, { kind: 'rmsNorm' });
 */
export function normLayer(width: number, options?: NormLayerOptions): Layer {
  requireWhole('normLayer', 'width', width, 1);
  const { kind = 'layerNorm', epsilon, bias = true } = readOptions('normLayer', options, normKinds);
  const weight = { shape: [width], initializer: ones };
  if (kind === 'rmsNorm') {
    return defineLayer({ '': { parameters: { weight } } }, (context, x) => {
      requireWidth(context, x, width);
      return rmsNorm(x, parameterOf(context, 'weight'), epsilon);
    });
  }
  const parameters: Declarations = {
    weight,
    ...(bias && { bias: { shape: [width], initializer: zeros } }),
  };
  return defineLayer({ '': { parameters } }, (context, x) => {
    requireWidth(context, x, width);
    return layerNorm(
      x,
      parameterOf(context, 'weight'),
      bias ? parameterOf(context, 'bias') : undefined,
      epsilon,
    );
  });
}
