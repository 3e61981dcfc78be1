import {
  add,
  cast,
  concat,
  custom,
  div,
  gatherRows,
  le,
  logicalAnd,
  logicalNot,
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
  topK,
  where,
} from '@topk-attention/core';
import { type MechanismCall, parameterOf, visibleKeys } from '@topk-attention/nn';
import { perHead } from './features.js';
import { entmaxSupport } from './graph-quality.js';
import { shown } from './inputs.js';
import { visiblePairs } from './pairs.js';
import { type PredictorSettings, toCentroids } from './predicted-graph.js';
import { type ChunkCall, mapPairChunks } from './query-chunks.js';
import { detached, uniformNoise } from './random.js';

interface LossSettings extends Pick<PredictorSettings, 'by'> {
  readonly margin: number;
  readonly seed: number;
}

/**
 * The mean over queries of max(0, margin + |q - k+|^2 - |q - k-|^2) of projections, where k+ is a random key of the query's
 * support and k- a random other one; and for clusters the mean squared distance of projections to their nearest centroid,
 * which moves the centroids alone, as k-means does. Shape []. Its gradient reaches the predictor only.
 */
export function predictorLoss(call: MechanismCall, { margin, by, seed }: LossSettings): Tensor {
  return scope(() => {
    const projection = cast(parameterOf(call.context, 'projection'), 'f32');
    const of = (x: Tensor): Tensor => perHead(detached(x), projection);
    const query = of(cast(call.query, 'f32'));
    const key = of(shown(call, call.key));
    const [positive, negative] = drawnPairs(call, seed);
    const near = distanceTo(query, key, positive);
    const far = distanceTo(query, key, negative);
    const counts = logicalAnd(le(0, positive), le(0, negative));
    const hinges = where(counts, max(sub(add(near, margin), far), 0), 0);
    const loss = div(sum(hinges), max(sum(cast(counts, 'f32')), 1));
    if (by !== 'clusters') return loss;
    const centroids = cast(parameterOf(call.context, 'centroids'), 'f32');
    const visible = visibleKeys(call);
    const toNearest = (x: Tensor): Tensor =>
      neg(maxOver(neg(toCentroids(detached(x), centroids)), { axes: [3], keepDims: true }));
    const ofKeys = toNearest(key);
    const seen = visible === undefined ? ofKeys : where(visible, ofKeys, 0);
    return add(loss, add(mean(toNearest(query)), mean(seen)));
  });
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
  const [positive, negative] = custom(
    'drawnPairs',
    [call.query, call.key],
    () => {
      const chunks = mapPairChunks(call, (part) => drawnOfChunk(part, seed), pairs);
      const joined = ([0, 1] as const).map((at) =>
        concat(
          chunks.map((chunk) => chunk[at]),
          2,
        ),
      );
      return { outputs: joined, saved: [] };
    },
    () => [undefined, undefined],
  );
  return [positive as Tensor, negative as Tensor];
}

function drawnOfChunk(call: ChunkCall, seed: number): readonly [positive: Tensor, negative: Tensor] {
  const support = entmaxSupport(call);
  const drawn = (pairs: Tensor, stream: number): Tensor =>
    scope(() => {
      const noise = uniformNoise(pairs.backend, seed, stream, pairs.shape, call.firstQuery);
      const ranked = where(pairs, noise, Number.NEGATIVE_INFINITY);
      noise.dispose();
      return topK(ranked, 1).indices;
    });
  const positive = drawn(support, 0);
  const others = scope(() => {
    const none = logicalNot(support);
    const visible = visiblePairs(call);
    return visible === undefined ? none : logicalAnd(none, visible);
  });
  support.dispose();
  return [positive, drawn(others, 1)];
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
