import { reshape, scope, type Tensor, transpose } from '@topk-attention/core';

/** [B, L, heads * D] -> [B, heads, L, D] */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as readonly [number, number, number];
  return scope(() => transpose(reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]));
}

/** [B, heads, L, D] -> [B, L, heads * D] */
export function mergeHeads(x: Tensor): Tensor {
  const [batch, heads, length, width] = x.shape as readonly [number, number, number, number];
  return scope(() => reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * width]));
}
