import { cast, mean, mul, scope, sub, type Tensor } from '@topk-attention/core';
import { requirePair } from './require-pair.js';

/**
 * Mean of (prediction - target)^2 over all elements, as PyTorch's `mse_loss`.
 *
 * @param predictions float, any shape
 * @param targets float, the same shape
 * @returns f32 scalar, computed in f32 for f16 too; NaN of no elements
 * @throws TopKError SHAPE_MISMATCH
 *
 * @example
 * const error = meanSquaredError(tensor(backend, [1, 2], [2]), tensor(backend, [1, 4], [2]));
 * // 2
 */
export function meanSquaredError(predictions: Tensor, targets: Tensor): Tensor {
  requirePair('meanSquaredError', ['predictions', 'targets'], [predictions, targets]);
  return scope(() => {
    const apart = sub(cast(predictions, 'f32'), cast(targets, 'f32'));
    return mean(mul(apart, apart));
  });
}
