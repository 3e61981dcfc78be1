import {
  arange,
  exactAttention,
  fill,
  le,
  lt,
  putAlong,
  reshape,
  sizeOf,
  tensor,
  topK,
  where,
} from '@topk-attention/core';
import type { AttentionFunction } from '@topk-attention/models';

/**
 * Attention over k keys per query and head, chosen at random instead of by score: the control of an evaluation. Keys
 * are hidden by `keyLengths` and causality alone, as in `generate`. Holds a number for every query/key pair.
 *
 * @param random source of numbers in [0, 1)
 */
export function randomAttention(k: number, random: () => number): AttentionFunction {
  return (q, key, v, options) => {
    const { backend } = q;
    const { keyLengths, causal, queryStart } = options;
    const [queries, keys] = [q.shape[2], key.shape[2]] as [number, number];
    if (k >= keys) return exactAttention(q, key, v, options);
    const shape = [...q.shape.slice(0, 3), keys];
    const numbers = new Float32Array(sizeOf(shape));
    for (let at = 0; at < numbers.length; at++) numbers[at] = random();
    let ranking = tensor(backend, numbers, shape);
    if (keyLengths !== undefined) {
      const isValid = lt(arange(backend, keys), reshape(keyLengths, [-1, 1, 1, 1]));
      ranking = where(isValid, ranking, Number.NEGATIVE_INFINITY);
    }
    if (causal === true) {
      const last = arange(backend, queries, queryStart ?? keys - queries);
      const isValid = le(arange(backend, keys), reshape(last, [queries, 1]));
      ranking = where(isValid, ranking, Number.NEGATIVE_INFINITY);
    }
    const { indices } = topK(ranking, k);
    const mask = lt(0, putAlong(indices, fill(backend, 1, indices.shape), keys));
    return exactAttention(q, key, v, { ...options, mask });
  };
}
