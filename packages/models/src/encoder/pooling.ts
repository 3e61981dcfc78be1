import { matmul, narrow, reshape, scope, type Tensor, tensor } from '@topk-attention/core';

/**
 * One vector for each row of hidden states x [B, L, width]: the mean over its tokens, or the state of the first.
 *
 * @param lengths tokens of each row
 */
export function pooled(x: Tensor, lengths: readonly number[], pooling: 'mean' | 'cls'): Tensor {
  const [batch, length, width] = x.shape as readonly [number, number, number];
  return scope(() => {
    if (pooling === 'cls') return reshape(narrow(x, 1, 0, 1), [batch, width]);
    const shares = new Float32Array(batch * length);
    for (const [row, own] of lengths.entries()) {
      shares.fill(1 / own, row * length, row * length + own);
    }
    return reshape(matmul(tensor(x.backend, shares, [batch, 1, length]), x), [batch, width]);
  });
}

/** A vector scaled to length 1; one of zeros stays as it is. */
export function normalizedVector(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, one) => sum + one * one, 0));
  return length === 0 ? vector : vector.map((one) => one / length);
}
