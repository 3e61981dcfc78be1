import { custom, max, min, reshape, scope, type Tensor, zeros } from '@topk-attention/core';
import { graphProduct, graphProductTransposed } from './graph-product.js';
import { pairsAtATime } from './query-chunks.js';
import type { EdgeRates } from './sample-graph.js';

/** What edges pass their gradients on to, and where: see `passedEdges`. */
interface Edges extends EdgeRates {
  /** i32 [B, heads, Lq, M] */
  readonly graph: Tensor;
}

/**
 * Zeros [B, heads, Lq, M], the logarithms of the edges that are there, with the straight-through gradient: an edge of 1 that
 * multiplies exp(score) has the gradient of its logarithm, which goes on to the expected number of edges, clipped to
 * [-1, 1]. The expected edges themselves are never computed. Exported for tests.
 *
 * @param edges memberships f32 and the graph
 * @param most memberships that are gathered at a time where the backend does not run `graphProduct` as a whole
 */
export function passedEdges(
  { query, key, graph }: Edges,
  most: number = pairsAtATime(query.backend),
): Tensor {
  const [bias] = custom(
    'passedEdges',
    [query, key],
    () => ({
      outputs: [zeros(query.backend, graph.shape, query.dtype)],
      saved: [query, key, graph],
    }),
    (_ops, [g], [ofQuery, ofKey, at]) => {
      if (g === undefined) return [];
      const edges = { query: ofQuery, key: ofKey, graph: at } as Edges;
      return scope(() => gradientsOfRates(edges, max(min(g, 1), -1), most));
    },
  );
  return bias as Tensor;
}

/** Gradients of the memberships of queries and keys. */
function gradientsOfRates(
  { query, key, graph }: Edges,
  ofEdges: Tensor,
  most: number,
): readonly [query: Tensor, key: Tensor] {
  const perGroup = (x: Tensor): Tensor => {
    const [batch, heads, rows, columns] = x.shape as readonly [number, number, number, number];
    return reshape(x, [batch * heads, rows, columns]);
  };
  const edges = { weights: perGroup(ofEdges), graph: perGroup(graph) };
  const ofQueries = graphProduct({ ...edges, rows: perGroup(key) }, most);
  const ofKeys = graphProductTransposed({ ...edges, rows: perGroup(query) }, key.shape[2] as number, most);
  return [reshape(ofQueries, query.shape), reshape(ofKeys, key.shape)];
}
