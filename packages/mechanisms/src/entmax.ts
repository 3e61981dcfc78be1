import { cast, matmul, mul, readOptions, scope, type Tensor } from '@topk-attention/core';
import type { Mechanism, MechanismCall } from '@topk-attention/nn';
import { entmax15 } from './entmax15.js';
import { shown } from './inputs.js';
import { stepWithKeys } from './kept-tokens.js';
import { pairAttention, visiblePairs } from './pairs.js';
import { attendInChunks, type ChunkCall } from './query-chunks.js';
import { notSoftmax } from './refusals.js';

/** None: alpha is 1.5. */
export type EntmaxOptions = Readonly<Record<never, never>>;

/**
 * Softmax replaced by entmax with alpha = 1.5 (Peters et al., 2019): most weights of a trained row are exactly 0. What
 * `sparsefinder` predicts the graph of. Queries go in chunks of at most 2^24 pairs over all examples and heads, 2^27 on large
 * devices with WebGPU, fewer with a run's `budgetBytes`. Chunks are computed again in the backward pass: memory is linear
 * in the length, besides a few tensors of 64 or 512 MiB.
 *
 * @throws TopKError INVALID_OPTION for any option, such as another alpha.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: entmaxAttention() });
 */
export function entmaxAttention(options?: EntmaxOptions): Mechanism {
  readOptions('entmaxAttention', options, {});
  return {
    name: 'entmax',
    takes: ['causal', 'keyLengths', 'mask', 'bias', 'relativeBias', 'dropout', 'groupedHeads', 'decoding'],
    refusals: { zeroShot: notSoftmax },
    attend: (call) => attendAll(call),
    step: (call, state) => stepWithKeys(call, state, attendAll),
  };
}

/** Entmax over all keys. @param pairs most pairs of a chunk of queries */
export function attendAll(call: MechanismCall, pairs?: number): Tensor {
  return scope(() => cast(attendInChunks(call, attendChunk, pairs), call.value.dtype));
}

/** The same of all queries at once, in f32. */
function attendChunk(call: ChunkCall): Tensor {
  return pairAttention(call, scaledQuery(call), shown(call, call.key), { weigh: entmax15 });
}

/** Queries times the scale of a call, f32. */
export function scaledQuery(call: MechanismCall): Tensor {
  const scale = call.options.scale ?? (call.query.shape[3] as number) ** -0.5;
  return mul(cast(call.query, 'f32'), scale);
}

/** The weights of all pairs of a chunk of queries, f32 [B, heads, Lq, Lk]; without biases, dropout and grouped heads. */
export function entmaxWeights(call: MechanismCall): Tensor {
  return scope(() => {
    const scores = scope(() => matmul(scaledQuery(call), shown(call, call.key), { transposeB: true }));
    return entmax15(scores, visiblePairs(call));
  });
}
