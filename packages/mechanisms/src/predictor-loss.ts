import {
  add,
  cast,
  concat,
  div,
  gatherRows,
  le,
  logicalAnd,
  max,
  maxOver,
  mean,
  mul,
  neg,
  reshape,
  scope,
  sub,
  sum,
  type Tensor,
  where,
} from '@topk-attention/core';
import { type MechanismCall, parameterOf, visibleKeys } from '@topk-attention/nn';
import { drawnEntries } from './drawn-entries.js';
import { entmaxWeights } from './entmax.js';
import { perHead } from './features.js';
import { shown, shownQuery, visibleQueries } from './inputs.js';
import { visiblePairs } from './pairs.js';
import { type PredictorSettings, toCentroids } from './predicted-graph.js';
import { type ChunkCall, mapPairChunks } from './query-chunks.js';
import { detached, withoutGradient } from './without-gradient.js';

interface LossSettings extends Pick<PredictorSettings, 'by'> {
  readonly margin: number;
  readonly seed: number;
}

/**
 * The mean over queries of max(0, margin + |q - k+|^2 - |q - k-|^2) of projections, where k+ is a random key of the query's
 * support and k- a random other one; and for clusters the mean squared distance of projections to their nearest centroid,
 * which moves the centroids alone, as k-means does. Padding counts for nothing. Shape []. Its gradient reaches the predictor
 * only.
 */
export function predictorLoss(call: MechanismCall, { margin, by, seed }: LossSettings): Tensor {
  return scope(() => {
    const projection = cast(parameterOf(call.context, 'projection'), 'f32');
    const of = (x: Tensor): Tensor => perHead(detached(x), projection);
    const given = shownQuery(call);
    const query = of(given);
    const key = of(shown(call, call.key));
    const [positive, negative] = drawnPairs({ ...call, query: given }, seed);
    const near = distanceTo(query, key, positive);
    const far = distanceTo(query, key, negative);
    const drawn = logicalAnd(le(0, positive), le(0, negative));
    const ofQueries = visibleQueries(call);
    const counts = ofQueries === undefined ? drawn : logicalAnd(drawn, ofQueries);
    const hinges = where(counts, max(sub(add(near, margin), far), 0), 0);
    const loss = div(sum(hinges), max(sum(cast(counts, 'f32')), 1));
    if (by !== 'clusters') return loss;
    const centroids = cast(parameterOf(call.context, 'centroids'), 'f32');
    const toNearest = (x: Tensor): Tensor =>
      neg(maxOver(neg(toCentroids(detached(x), centroids)), { axes: [3], keepDims: true }));
    const away = add(meanOf(toNearest(query), ofQueries), meanOf(toNearest(key), visibleKeys(call)));
    return add(loss, away);
  });
}

/** The mean of x [B, heads, L, 1] over visible tokens, bool [B, 1, L, 1]; over all if undefined. 0 without any. */
function meanOf(x: Tensor, visible: Tensor | undefined): Tensor {
  if (visible === undefined) return mean(x);
  const count = mul(sum(cast(visible, 'f32')), x.shape[1] as number);
  return div(sum(where(visible, x, 0)), max(count, 1));
}

/**
 * Of each query a random key of entmax's support and a random visible other one, i32 [B, heads, Lq, 1] each, -1 if there is
 * none. They have no gradient.
 *
 * @param pairs most pairs of a chunk of queries
 */
export function drawnPairs(
  call: MechanismCall,
  seed: number,
  pairs?: number,
): readonly [positive: Tensor, negative: Tensor] {
  return withoutGradient('drawnPairs', [call.query, call.key], () => {
    const chunks = mapPairChunks(call, (part) => drawnOfChunk(part, seed), pairs);
    const joined = (at: 0 | 1): Tensor =>
      concat(
        chunks.map((chunk) => chunk[at]),
        2,
      );
    return [joined(0), joined(1)] as const;
  });
}

function drawnOfChunk(call: ChunkCall, seed: number): readonly [positive: Tensor, negative: Tensor] {
  const draws = { seed, firstQuery: call.firstQuery ?? 0 };
  const { positive, negative } = drawnEntries(entmaxWeights(call), visiblePairs(call), draws);
  return [positive, negative];
}

/** Squared distance of each query to its key [B, heads, Lq, 1]. */
function distanceTo(query: Tensor, key: Tensor, index: Tensor): Tensor {
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  const keys = key.shape[2] as number;
  const chosen = gatherRows(
    reshape(key, [batch * heads, keys, width]),
    reshape(index, [batch * heads, queries]),
  );
  const away = sub(query, reshape(chosen, query.shape));
  return sum(mul(away, away), { axes: [3], keepDims: true });
}
