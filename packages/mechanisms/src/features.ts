import { broadcastTo, fill, matmul, reshape, rmsNorm, scope, type Tensor } from '@topk-attention/core';

/** x [B, H, L, d] times the transposed matrix of its head, weights [H, n, d]: [B, H, L, n]. */
export function perHead(x: Tensor, weights: Tensor): Tensor {
  const [batch, heads] = x.shape as readonly [number, number];
  const [, rows, width] = weights.shape as readonly [number, number, number];
  const all = broadcastTo(reshape(weights, [1, heads, rows, width]), [batch, heads, rows, width]);
  return matmul(x, all, { transposeB: true });
}

/**
 * x [..., d] over its length, times a factor; zeros stay zeros, where the gradient is 1e6 times the output's. 1e-12 is added
 * to the square of the length: 1e-6 would change outputs of short tokens in their sixth digit, and scale would count.
 */
export function unit(x: Tensor, factor = 1): Tensor {
  const width = x.shape.at(-1) as number;
  // Over the root of its mean square, as one operation with its gradient.
  return scope(() => rmsNorm(x, fill(x.backend, factor * width ** -0.5, [width], x.dtype), 1e-12 / width));
}

/** Queries [B, heads, L, d] as the rows of their key heads: [B, keyValueHeads, heads / keyValueHeads L, d]. */
export function byKeyHead(query: Tensor, keyHeads: number): Tensor {
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  return reshape(query, [batch, keyHeads, (heads / keyHeads) * queries, width]);
}
