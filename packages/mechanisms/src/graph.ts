import { gatherRows, le, matmul, reshape, scope, type Tensor } from '@topk-attention/core';
import { entmax15 } from './entmax15.js';
import { attendListed } from './query-chunks.js';

/**
 * Entmax over given keys: for each query a list of indices, -1 for unused slots, none twice. Scores, weights and values of the
 * listed keys alone are computed, for some queries at a time. [B, heads, Lq, Dv]; zeros for an empty list. Core's
 * `graphAttention` has softmax only.
 *
 * @param query [B, heads, Lq, d], scaled
 * @param graph i32 [B, heads, Lq, M]
 * @param most numbers that are gathered at a time
 */
export function entmaxOverGraph(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  graph: Tensor,
  most?: number,
): Tensor {
  const width = Math.max(key.shape[3] as number, value.shape[3] as number);
  return scope(() => attendListed({ query, key, value, graph }, width, overListed, most));
}

interface ListedKeys {
  readonly query: Tensor;
  readonly key: Tensor;
  readonly value: Tensor;
  readonly graph: Tensor;
}

function overListed({ query, key, value, graph }: ListedKeys): Tensor {
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  const [keys, valueDim] = [key.shape[2] as number, value.shape[3] as number];
  const slots = graph.shape[3] as number;
  const groups = batch * heads;
  const indices = reshape(graph, [groups, queries * slots]);
  const listed = (of: Tensor, columns: number): Tensor => {
    const rows = gatherRows(reshape(of, [groups, keys, columns]), indices);
    return reshape(rows, [groups * queries, slots, columns]);
  };
  const rows = reshape(query, [groups * queries, 1, width]);
  const products = scope(() => matmul(rows, listed(key, width), { transposeB: true }));
  const weights = reshape(entmax15(reshape(products, graph.shape), le(0, graph)), [
    groups * queries,
    1,
    slots,
  ]);
  return reshape(matmul(weights, listed(value, valueDim)), [batch, heads, queries, valueDim]);
}
