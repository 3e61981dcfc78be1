import { le, mul, randomBits, reshape, scope, type Tensor, where } from '@topk-attention/core';
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
  const seed = seedOf(run, path);
  return scope(() => {
    const rows = x.rank === 0 ? 1 : (x.shape[0] as number);
    const bits = reshape(randomBits(x.backend, seed, [rows, x.size / Math.max(1, rows)]), x.shape);
    // i32 bits are uniform from -2^31 to 2^31 - 1.
    const isKept = le(Math.floor(rate * 2 ** 32) - 2 ** 31, bits);
    return where(isKept, mul(x, 1 / (1 - rate)), 0);
  });
}
