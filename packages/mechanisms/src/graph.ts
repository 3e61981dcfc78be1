import { gatherRows, le, matmul, reshape, scope, type Tensor, where } from '@topk-attention/core';
import { entmax15 } from './entmax.js';

/**
 * Entmax over given keys: for each query a list of indices, -1 for unused slots, none twice. Scores, weights and values of the
 * listed keys alone are computed: memory L M d. [B, heads, Lq, Dv]; zeros for an empty list. Core's `graphAttention` has
 * softmax only.
 *
 * @param query [B, heads, Lq, d], scaled
 * @param graph i32 [B, heads, Lq, M]
 */
export function entmaxOverGraph(query: Tensor, key: Tensor, value: Tensor, graph: Tensor): Tensor {
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  const [keys, valueDim] = [key.shape[2] as number, value.shape[3] as number];
  const slots = graph.shape[3] as number;
  return scope(() => {
    const groups = batch * heads;
    const indices = reshape(graph, [groups, queries * slots]);
    const listed = (of: Tensor, columns: number): Tensor => {
      const rows = gatherRows(reshape(of, [groups, keys, columns]), indices);
      return reshape(rows, [groups * queries, slots, columns]);
    };
    const rows = reshape(query, [groups * queries, 1, width]);
    const products = reshape(matmul(rows, listed(key, width), { transposeB: true }), graph.shape);
    const weights = entmax15(where(le(0, graph), products, Number.NEGATIVE_INFINITY));
    const made = matmul(reshape(weights, [groups * queries, 1, slots]), listed(value, valueDim));
    return reshape(made, [batch, heads, queries, valueDim]);
  });
}
