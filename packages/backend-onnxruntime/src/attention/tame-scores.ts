import type { AttentionRequest } from '@topk-attention/core';
import { areAllFinite, type Magnitude } from '../runtime/inspect.js';

/** An f32 reaches 3.4e38; the rest is room for roundings. */
const LARGEST_SUM = 1e38;

/**
 * True when no score can be NaN or overflow, whatever is multiplied first, so that the quick graph is exact: then only
 * a row without any valid key is not finite. A bias of -inf is a mask, and no reason to look at every score.
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
