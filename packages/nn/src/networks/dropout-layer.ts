import { describeValue, TopKError } from '@topk-attention/core';
import { dropout } from '../layers/dropout.js';
import { defineLayer, type Layer } from './layer.js';

/**
 * In training, x with each element dropped with probability `rate` and the rest scaled up; otherwise x. The seed
 * depends on the path.
 *
 * @throws TopKError INVALID_OPTION for a rate outside [0, 1); when applied, for a training run without seeds.
 *
 * @example
 * const layer = dropoutLayer(0.1);
 */
export function dropoutLayer(rate: number): Layer {
  requireRate('dropoutLayer', 'rate', rate);
  // An alias: x stays the caller's.
  return defineLayer({}, (context, x) => dropout(context, context.path, x, rate).alias());
}

/** @throws TopKError INVALID_OPTION for a rate outside [0, 1). */
export function requireRate(where: string, name: string, rate: number): void {
  if (rate >= 0 && rate < 1) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'a rate of at least 0 and below 1',
    got: describeValue(rate),
  });
}
