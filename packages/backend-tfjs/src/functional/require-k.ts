import { describeValue, TopKError } from '@topk-attention/core';

/**
 * A number to keep. The halves that core offers also take 'all', and undefined for it: here both are mistakes.
 *
 * @throws TopKError INVALID_K
 */
export function requireK(where: string, k: unknown): number {
  if (typeof k === 'number' && Number.isInteger(k) && k > 0) return k;
  throw new TopKError('INVALID_K', `${where}: bad k`, {
    expected: 'a positive whole number',
    got: describeValue(k),
    fix:
      where === 'topKAttention' ? 'Use exactAttention for all keys' : 'Use k = hidden units for all of them',
  });
}
