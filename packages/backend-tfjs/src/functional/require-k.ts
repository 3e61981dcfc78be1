import { describeValue, TopKError } from '@topk-attention/core';

/**
 * The number to keep. Core's halves also accept 'all', or undefined for it; here both are errors.
 *
 * @throws TopKError INVALID_K
 */
export function requireK(where: string, k: unknown): number {
  if (typeof k === 'number' && Number.isInteger(k) && k > 0) return k;
  throw new TopKError('INVALID_K', `${where}: bad k`, {
    expected: 'a positive whole number',
    got: describeValue(k),
    fix:
      where === 'topKAttention'
        ? 'Use exactAttention to keep all keys'
        : 'Use k = the number of hidden units to keep all of them',
  });
}
