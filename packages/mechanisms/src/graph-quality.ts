import {
  add,
  cast,
  concat,
  fill,
  formatShape,
  le,
  logicalAnd,
  lt,
  mul,
  putAlong,
  reshape,
  scope,
  sum,
  type Tensor,
  TopKError,
  where,
} from '@topk-attention/core';
import type { MechanismCall } from '@topk-attention/nn';
import { entmaxWeights } from './entmax.js';
import { visiblePairs } from './pairs.js';
import { mapPairChunks, rowsOfQueries } from './query-chunks.js';
import { withoutGradient } from './without-gradient.js';

/**
 * f32 [6]: pairs that entmax gives a weight, those of them in the graph, pairs in the graph, visible pairs, queries with a
 * weight, and those of them whose whole support is in the graph.
 */
export type GraphCounts = Tensor;

export interface GraphQuality {
  /** Share of the pairs with a weight that the graph holds. */
  readonly recall: number;
  /** Share of the visible pairs that the graph leaves out. */
  readonly sparsity: number;
  /** Share of the pairs without a weight among the visible ones: what a perfect graph would leave out. */
  readonly entmaxSparsity: number;
  /** Share of the queries whose result is that of entmax over all keys. */
  readonly exactQueries: number;
}

/** bool [B, heads, Lq, Lk]: where entmax over all keys is not 0. It has no gradient. */
function entmaxSupport(call: MechanismCall): Tensor {
  const make = () => [scope(() => lt(0, entmaxWeights(call)))] as const;
  const [support] = withoutGradient('entmaxSupport', [call.query, call.key], make);
  return support;
}

/**
 * Counts of a graph i32 [B, heads, Lq, M] beside entmax's own, for `graphQuality`.
 *
 * @param pairs most pairs of a chunk of queries
 */
export function graphCounts(call: MechanismCall, graph: Tensor, pairs?: number): GraphCounts {
  return scope(() => {
    const ofChunks = mapPairChunks(
      call,
      (part, chunk) => [countsOf(part, rowsOfQueries(graph, chunk))] as const,
      pairs,
    );
    return ofChunks
      .map(([counts]) => counts)
      .reduce((all, one) => add(all, one))
      .unscopedAlias();
  });
}

function countsOf(call: MechanismCall, graph: Tensor): GraphCounts {
  const perQuery = (of: Tensor): Tensor => sum(of, { axes: [3] });
  const support = cast(entmaxSupport(call), 'f32');
  const listed = putAlong(graph, fill(graph.backend, 1, graph.shape), call.key.shape[2] as number);
  const visible = visiblePairs(call);
  const seen = scope(() => {
    const all = fill(graph.backend, 1, support.shape);
    return sum(visible === undefined ? all : where(visible, all, 0));
  });
  const [all, found] = [perQuery(support), scope(() => perQuery(mul(support, listed)))];
  const hasSupport = lt(0, all);
  const isCovered = logicalAnd(hasSupport, le(all, found));
  const counts = [all, found, listed, seen, cast(hasSupport, 'f32'), cast(isCovered, 'f32')];
  return concat(
    counts.map((one) => reshape(sum(one), [1])),
    0,
  );
}

/** Reads counts back as shares. Shares of nothing are 1. @throws TopKError SHAPE_MISMATCH for another tensor */
export async function graphQuality(counts: GraphCounts): Promise<GraphQuality> {
  if (counts.rank !== 1 || counts.shape[0] !== 6) {
    throw new TopKError('SHAPE_MISMATCH', 'graphQuality: no counts of a graph', {
      expected: '[6], as onGraph of sparsefinder gets it',
      got: formatShape(counts.shape),
    });
  }
  const [support = 0, found = 0, listed = 0, visible = 0, queries = 0, covered = 0] = await counts.data();
  const share = (part: number, whole: number): number => (whole === 0 ? 1 : part / whole);
  return {
    recall: share(found, support),
    sparsity: 1 - share(listed, visible),
    entmaxSparsity: 1 - share(support, visible),
    exactQueries: share(covered, queries),
  };
}
