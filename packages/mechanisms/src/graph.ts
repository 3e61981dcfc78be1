import {
  add,
  formatShape,
  gatherRows,
  le,
  matmul,
  mul,
  reshape,
  scope,
  softmax,
  type Tensor,
  TopKError,
  where,
} from '@topk-attention/core';

export interface GraphOptions {
  /** Multiplies the scores. Default d ** -0.5. */
  readonly scale?: number;
  /** Added to the scores of the listed keys [B, heads, Lq, M]. */
  readonly bias?: Tensor;
  /** Weights of the scores [..., M], -inf where a slot is unused: zeros for a row of those. Default softmax. */
  readonly weigh?: (scores: Tensor) => Tensor;
}

/**
 * Attention over given keys: for each query a list of indices, -1 for unused slots, none twice. Scores, weights and values
 * of the listed keys alone are computed: memory L M d. [B, heads, Lq, Dv]; zeros for an empty list.
 *
 * @param graph i32 [B, heads, Lq, M]
 * @throws TopKError SHAPE_MISMATCH
 */
export function graphAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  graph: Tensor,
  { scale, bias, weigh = softmax }: GraphOptions = {},
): Tensor {
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  const [keys, valueDim] = [key.shape[2] as number, value.shape[3] as number];
  const slots = graph.shape[3] as number;
  const expected = [batch, heads, queries, slots];
  if (graph.rank !== 4 || expected.some((extent, axis) => extent !== graph.shape[axis])) {
    throw new TopKError('SHAPE_MISMATCH', 'graph attention: the graph does not fit', {
      expected: formatShape([batch, heads, queries, slots]),
      got: formatShape(graph.shape),
    });
  }
  return scope(() => {
    const groups = batch * heads;
    const indices = reshape(graph, [groups, queries * slots]);
    const ofKeys = reshape(gatherRows(reshape(key, [groups, keys, width]), indices), [
      groups * queries,
      slots,
      width,
    ]);
    const rows = reshape(mul(query, scale ?? width ** -0.5), [groups * queries, 1, width]);
    const products = reshape(matmul(rows, ofKeys, { transposeB: true }), [batch, heads, queries, slots]);
    const scores = bias === undefined ? products : add(products, bias);
    const weights = weigh(where(le(0, graph), scores, Number.NEGATIVE_INFINITY));
    const ofValues = reshape(gatherRows(reshape(value, [groups, keys, valueDim]), indices), [
      groups * queries,
      slots,
      valueDim,
    ]);
    const made = matmul(reshape(weights, [groups * queries, 1, slots]), ofValues);
    return reshape(made, [batch, heads, queries, valueDim]);
  });
}
