import type { AttentionRequest } from '@topk-attention/core/backend';
import { areAllFinite, LARGEST_SUM, type Magnitude } from '../runtime/inspect.js';

/**
 * True when no score can be NaN or overflow in any order of multiplication. Then the quick graph is exact: only rows
 * without a valid key are not finite. A bias of -inf is a mask, and no reason to check every score.
 */
export function areScoresTame(
  { headDim, scale }: Pick<AttentionRequest, 'headDim' | 'scale'>,
  q: Magnitude,
  k: Magnitude,
  bias: Magnitude | undefined,
  table: Magnitude | undefined,
): boolean {
  if (!areAllFinite(q) || !areAllFinite(k) || bias?.hasNaN || bias?.hasPlusInfinity) return false;
  if (table !== undefined && !areAllFinite(table)) return false;
  const dot = headDim * q.largest * k.largest;
  const score = Math.abs(scale) * dot + (bias?.largest ?? 0) + (table?.largest ?? 0);
  return Math.max(dot, score, Math.abs(scale) * q.largest) <= LARGEST_SUM;
}
