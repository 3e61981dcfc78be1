import {
  abs,
  add,
  broadcastTo,
  exp,
  log,
  matmul,
  max,
  mul,
  neg,
  reshape,
  rsqrt,
  sum,
  type Tensor,
} from '@topk-attention/core';

/** x [B, H, L, d] times the transposed matrix of its head, weights [H, n, d]: [B, H, L, n]. */
export function perHead(x: Tensor, weights: Tensor): Tensor {
  const [batch, heads] = x.shape as readonly [number, number];
  const [, rows, width] = weights.shape as readonly [number, number, number];
  const all = broadcastTo(reshape(weights, [1, heads, rows, width]), [batch, heads, rows, width]);
  return matmul(x, all, { transposeB: true });
}

/** x [..., d] over its length; zeros stay zeros. */
export function unit(x: Tensor): Tensor {
  return mul(x, rsqrt(add(sum(mul(x, x), { axes: [-1], keepDims: true }), 1e-12)));
}

/** log(1 + exp(x)), without overflow. */
export function softplus(x: Tensor): Tensor {
  return add(max(x, 0), log(add(exp(neg(abs(x))), 1)));
}

/** Queries [B, heads, L, d] as the rows of their key heads: [B, keyValueHeads, heads / keyValueHeads L, d]. */
export function byKeyHead(query: Tensor, keyHeads: number): Tensor {
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  return reshape(query, [batch, keyHeads, (heads / keyHeads) * queries, width]);
}
