import {
  add,
  concat,
  custom,
  gatherRows,
  matmul,
  max,
  min,
  narrow,
  reshape,
  scatterAddRows,
  scope,
  type Tensor,
  zeros,
} from '@topk-attention/core';
import { chunksOf, pairsAtATime } from './query-chunks.js';
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
 * @param most memberships that are gathered at a time
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

/**
 * Gradients of the memberships of queries and keys: of some examples and heads at a time, whose keys have sums of their own,
 * and where one of them is too large, of some of its queries.
 */
function gradientsOfRates(
  { query, key, graph }: Edges,
  ofEdges: Tensor,
  most: number,
): readonly [query: Tensor, key: Tensor] {
  const [batch, heads, queries, columns] = query.shape as readonly [number, number, number, number];
  const [keys, slots] = [key.shape[2] as number, graph.shape[3] as number];
  const groups = batch * heads;
  const all = {
    query: reshape(query, [groups, queries, columns]),
    key: reshape(key, [groups, keys, columns]),
    graph: reshape(graph, [groups, queries, slots]),
    ofEdges: reshape(ofEdges, [groups, queries, slots]),
  };
  const parts = chunksOf(groups, queries * slots * columns, most).map(({ start, size }) =>
    scope(() => {
      const of = (x: Tensor): Tensor => narrow(x, 0, start, size);
      return gradientsOfGroups(
        { query: of(all.query), key: of(all.key), graph: of(all.graph), ofEdges: of(all.ofEdges) },
        most,
      );
    }),
  );
  const joined = (role: 0 | 1, like: Tensor): Tensor =>
    reshape(
      concat(
        parts.map((one) => one[role]),
        0,
      ),
      like.shape,
    );
  return [joined(0, query), joined(1, key)];
}

/** The same for queries [N, Lq, k], keys [N, Lk, k], and a graph and its gradients [N, Lq, M]. */
function gradientsOfGroups(
  { query, key, graph, ofEdges }: Edges & { readonly ofEdges: Tensor },
  most: number,
): readonly [query: Tensor, key: Tensor] {
  const [groups, queries, columns] = query.shape as readonly [number, number, number];
  const [keys, slots] = [key.shape[1] as number, graph.shape[2] as number];
  let ofKeys: Tensor | undefined;
  const parts = chunksOf(queries, groups * slots * columns, most).map(({ start, size }) => {
    key.backend.flush();
    const rows = groups * size;
    const [ofQueries, sums] = scope(() => {
      const of = (x: Tensor): Tensor => narrow(x, 1, start, size);
      const indices = reshape(of(graph), [groups, size * slots]);
      const weights = reshape(of(ofEdges), [rows, 1, slots]);
      const own = scope(() => {
        const listed = reshape(gatherRows(key, indices), [rows, slots, columns]);
        return reshape(matmul(weights, listed), [groups, size, columns]);
      });
      const passed = matmul(weights, reshape(of(query), [rows, 1, columns]), { transposeA: true });
      const ofListed = scatterAddRows(keys, indices, reshape(passed, [groups, size * slots, columns]));
      return [own, ofKeys === undefined ? ofListed : add(ofKeys, ofListed)] as const;
    });
    ofKeys?.dispose();
    ofKeys = sums;
    return ofQueries;
  });
  // There is at least one chunk.
  return [concat(parts, 1), ofKeys as Tensor];
}
