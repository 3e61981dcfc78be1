import { reshape, scope, type Tensor, TopKError, transpose } from '@topk-attention/core';
import { requireTensor, requireWhole } from '../require.js';

/** [B, L, heads * D] -> [B, heads, L, D]. @throws TopKError RANK_MISMATCH, SHAPE_MISMATCH, INVALID_OPTION. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  requireTensor('splitHeads', 'x', x, { rank: 3 });
  requireWhole('splitHeads', 'heads', heads, 1);
  const [batch, length, width] = x.shape as readonly [number, number, number];
  if (width % heads !== 0) {
    throw new TopKError('SHAPE_MISMATCH', 'splitHeads: heads do not divide the width', {
      expected: `a multiple of ${heads}`,
      got: String(width),
    });
  }
  return scope(() => transpose(reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]));
}

/** [B, heads, L, D] -> [B, L, heads * D]. @throws TopKError RANK_MISMATCH, INVALID_OPTION. */
export function mergeHeads(x: Tensor): Tensor {
  requireTensor('mergeHeads', 'x', x, { rank: 4 });
  const [batch, heads, length, width] = x.shape as readonly [number, number, number, number];
  return scope(() => reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * width]));
}
