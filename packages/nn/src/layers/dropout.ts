import { dropout as dropElements, type Tensor } from '@topk-attention/core';
import type { Run } from '../run.js';
import { seedOf } from '../seeds.js';

/**
 * In training, x [...] with each element dropped with probability `rate` and the rest scaled by 1 / (1 - rate);
 * otherwise x itself. The seed depends on the path, so the same run drops the same elements on every backend.
 *
 * @throws TopKError INVALID_OPTION for a training run without seeds.
 */
export function dropout(run: Run, path: string, x: Tensor, rate: number): Tensor {
  if (!run.training || rate === 0) return x;
  return dropElements(x, { rate, seed: seedOf(run, path) });
}
