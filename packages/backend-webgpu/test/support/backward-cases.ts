import type { AttentionRequest } from '@topk-attention/core/backend';

type Case = readonly [name: string, request: Partial<AttentionRequest>];

export const relativeBias = { bidirectional: true, maxDistance: 16, buckets: 8 };

/** Requests that every backward pass is held against the reference by; `k` is for those that keep keys. */
export const backwardCases: readonly Case[] = [
  ['plain', {}],
  ['one query', { queryLength: 1, causal: true }],
  ['one key', { keyLength: 1, k: 1 }],
  ['more queries than keys, causal: leading rows are empty', { queryLength: 25, keyLength: 9, causal: true }],
  ['fewer queries than keys, causal', { queryLength: 9, keyLength: 26, causal: true }],
  [
    'spare keys that no query sees, causal',
    { queryLength: 9, keyLength: 26, causal: true, queryStart: 4, queryHeads: 4, keyHeads: 2, batch: 2 },
  ],
  ['spare keys, f16', { dtype: 'f16', queryLength: 9, keyLength: 26, causal: true, queryStart: 4 }],
  ['grouped queries', { queryHeads: 6, keyHeads: 2, batch: 2, causal: true }],
  ['mask and lengths', { batch: 2, mask: [2, 1, 20, 20], keyLengths: true }],
  ['mask of keys', { batch: 2, mask: [2, 1, 1, 20] }],
  ['dropout', { dropout: { rate: 0.4, seed: 2 ** 40 + 12345 }, batch: 2, causal: true }],
  [
    'dropout, more keys than a row notes',
    { dropout: { rate: 0.4, seed: 6 }, queryLength: 3, keyLength: 4301 },
  ],
  ['odd dimensions and lengths', { headDim: 5, valueDim: 3, queryLength: 19, keyLength: 23 }],
  ['dimensions of 1', { headDim: 1, valueDim: 1 }],
  ['head dim 64, value dim 128', { headDim: 64, valueDim: 128, causal: true }],
  ['f16', { dtype: 'f16', headDim: 16, valueDim: 8, queryHeads: 4, keyHeads: 2 }],
  [
    'f16, odd dimensions and lengths',
    { dtype: 'f16', headDim: 7, valueDim: 5, queryLength: 13, keyLength: 11 },
  ],
  ['bias by query and key', { bias: [1, 2, 20, 20], batch: 2 }],
  ['bias by all', { bias: [2, 2, 20, 20], batch: 2, causal: true }],
  ['bias shared by heads', { bias: [1, 1, 20, 20], batch: 2, queryHeads: 4 }],
  ['bias by sequence', { bias: [2, 1, 20, 20], batch: 2, queryHeads: 4 }],
  ['bias by key', { bias: [2, 1, 1, 20], batch: 2, queryHeads: 4 }],
  ['bias by head and key', { bias: [1, 4, 1, 20], queryHeads: 4, batch: 2 }],
  ['bias by query', { bias: [1, 2, 20, 1], batch: 2, dropout: { rate: 0.2, seed: 3 } }],
  ['bias by head', { bias: [1, 2, 1, 1], batch: 2, dropout: { rate: 0.2, seed: 4 } }],
  ['relative bias', { relativeBias, batch: 2, queryHeads: 4 }],
  ['relative bias, queries placed', { relativeBias, queryStart: 7, queryLength: 13, keyLength: 30 }],
  [
    'relative bias, queries behind the keys',
    {
      relativeBias: { bidirectional: false, maxDistance: 300, buckets: 40 },
      queryStart: 25,
      bias: [1, 1, 20, 20],
    },
  ],
  [
    'relative bias, causal, 40 buckets',
    {
      relativeBias: { bidirectional: false, maxDistance: 300, buckets: 40 },
      causal: true,
      queryLength: 60,
      keyLength: 70,
    },
  ],
  [
    'all at once',
    {
      batch: 2,
      queryHeads: 4,
      keyHeads: 2,
      mask: [1, 1, 20, 20],
      keyLengths: true,
      bias: [1, 4, 1, 20],
      relativeBias,
      dropout: { rate: 0.1, seed: 7 },
      causal: true,
      k: 6,
    },
  ],
];

const tolerance = { f32: 2e-6, f16: 1e-3 };

/**
 * How far a gradient may be from the reference's. That of a bias that all queries and keys share is 0 by mathematics, as
 * the gradients of a row's scores sum to 0: nothing but the rounding of all rows is left of it.
 */
export function toleranceOf(request: AttentionRequest, role: string): number {
  const isShared = request.bias?.[2] === 1 && request.bias[3] === 1;
  return role === 'bias' && isShared ? 2e-5 : tolerance[request.dtype];
}
