import { arange, le, matmul, mul, reshape, softmax, type Tensor, where } from '@topk-attention/core';
import type { Mechanism } from '@topk-attention/nn';

/**
 * Exact attention as it is usually written: all scores of a call in one tensor [B, H, L, L]. The same numbers as
 * `exact()`, with memory that grows with the square of the length.
 */
export function wholeAttention(): Mechanism {
  return {
    name: 'whole',
    takes: ['causal'],
    attend: ({ query, key, value, options }) => {
      const [, , length, headDim] = query.shape as readonly [number, number, number, number];
      const scores = matmul(mul(query, options.scale ?? headDim ** -0.5), key, { transposeB: true });
      return matmul(softmax(options.causal ? hidden(scores, length) : scores), value);
    },
  };
}

/** Scores of later keys made -inf. */
function hidden(scores: Tensor, length: number): Tensor {
  const places = arange(scores.backend, length);
  const isSeen = le(reshape(places, [1, length]), reshape(places, [length, 1]));
  return where(isSeen, scores, Number.NEGATIVE_INFINITY);
}
