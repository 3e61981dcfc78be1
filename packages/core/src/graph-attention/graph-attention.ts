import { wishesOf } from '../attention/plan.js';
import type { GraphAttentionInputs } from '../contract/graph-attention.js';
import { runOperation } from '../operation/run.js';
import { commonBackend } from '../tensor/apply.js';
import { readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import { graphAttentionOperation } from './definition.js';
import { type GraphAttentionOptions, graphKinds } from './options.js';
import { graphAttentionRequest } from './request.js';

/**
 * Attention in which every query takes in the keys that a graph lists for it: softmax over their scaled scores, zero
 * elsewhere. Time and memory grow with the number of entries, never with Lq x Lk.
 *
 * q [B, Hq, Lq, D], k [B, Hkv, Lk, D], v [B, Hkv, Lk, Dv], graph i32 [B, Hq, Lq, M] -> [B, Hq, Lq, Dv]; Hq is a multiple
 * of Hkv, and the first three dims of the graph may be 1. Entries may be in any order. -1 is no entry. A graph is a set of
 * edges, so of several entries with the same key the first counts, with its own bias. Entries that `causal`, lengths or
 * mask hide do not count; a row without an entry that counts gives zeros. Any other number outside of the keys makes its row
 * NaN, as NaN in a score does (`requireGraph` finds it). q, k, v and the bias have gradients; training keeps 8 M bytes per
 * query and head.
 *
 * @throws TopKError SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH, INVALID_OPTION, EMPTY_SEQUENCE, MIXED_BACKENDS,
 * DOES_NOT_FIT.
 *
 * @example
 * // Two queries: the first sees keys 0 and 1, the second only key 1.
 * const two = zeros(backend, [1, 4, 2, 64]);
 * const graph = tensor(backend, Int32Array.of(0, 1, 1, -1), [1, 1, 2, 2]);
 * const output = graphAttention(two, two, two, graph, { causal: false });
 */
export function graphAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  graph: Tensor,
  options?: GraphAttentionOptions,
): Tensor {
  const where = 'graphAttention';
  const given = readOptions(where, options, graphKinds);
  const { keyMask, keyLengths, bias } = given;
  for (const [name, one] of Object.entries({ q, k, v, graph })) requireTensor(where, name, one);
  const inputs: GraphAttentionInputs<Tensor> = {
    ...{ q, k, v, graph },
    ...(keyMask && { keyMask }),
    ...(keyLengths && { keyLengths }),
    ...(bias && { bias }),
  };
  commonBackend(where, Object.values(inputs));
  const request = graphAttentionRequest(where, inputs, given);
  const wishes = wishesOf(given);
  const { output } = runOperation(graphAttentionOperation, { where, request, inputs, wishes });
  return output;
}
