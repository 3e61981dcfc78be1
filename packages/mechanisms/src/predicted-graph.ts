import {
  add,
  arange,
  cast,
  custom,
  elementIsNaN,
  eq,
  fill,
  le,
  logicalAnd,
  lt,
  matmul,
  min,
  mul,
  neg,
  putAlong,
  reshape,
  scope,
  sub,
  sum,
  type Tensor,
  tanh,
  topK,
  transpose,
  where,
} from '@topk-attention/core';
import { type MechanismCall, parameterOf } from '@topk-attention/nn';
import { perHead } from './features.js';
import { shown } from './inputs.js';
import { visiblePairs } from './pairs.js';

/** How a graph is predicted: see `SparsefinderOptions`. */
export interface PredictorSettings {
  readonly edges: number;
  readonly by: 'buckets' | 'clusters' | 'distance';
  readonly buckets: number;
  readonly nearest: number;
  readonly radius: number;
  readonly window: number;
  readonly first: number;
}

/** Projections of queries [B, heads, Lq, r] and keys [B, heads, Lk, r]. */
interface Projected {
  readonly query: Tensor;
  readonly key: Tensor;
}

/** Keys of each query, ascending, -1 for unused slots: i32 [B, heads, Lq, M]. It has no gradient. */
export function predictedGraph(call: MechanismCall, settings: PredictorSettings): Tensor {
  const { query, key } = call;
  const [graph] = custom(
    'predictedGraph',
    [query, key],
    () => ({ outputs: [scope(() => predicted(call, settings))], saved: [] }),
    () => [undefined, undefined],
  );
  return graph as Tensor;
}

function predicted(call: MechanismCall, settings: PredictorSettings): Tensor {
  const projection = cast(parameterOf(call.context, 'projection'), 'f32');
  const query = perHead(cast(call.query, 'f32'), projection);
  const key = perHead(shown(call, call.key), projection);
  const distance = distances(query, key);
  const candidates = candidatesOf(call, { query, key }, distance, settings);
  // Always there: before any other.
  const always = nearby(call, settings);
  const nearness = where(candidates, neg(distance), Number.NEGATIVE_INFINITY);
  const ranked = where(always, fill(query.backend, 1, [1]), nearness);
  const visible = visiblePairs(call);
  const seen = visible === undefined ? ranked : where(visible, ranked, Number.NEGATIVE_INFINITY);
  // Queries at padding may be NaN.
  const safe = where(elementIsNaN(seen), Number.NEGATIVE_INFINITY, seen);
  return topK(safe, Math.min(settings.edges, key.shape[2] as number)).indices;
}

function candidatesOf(
  { context }: MechanismCall,
  { query, key }: Projected,
  distance: Tensor,
  { by, buckets, nearest, radius }: PredictorSettings,
): Tensor {
  switch (by) {
    case 'distance':
      return lt(distance, radius ** 2);
    case 'buckets':
      return haveCommon(inBuckets(query, buckets), inBuckets(key, buckets));
    case 'clusters': {
      const centroids = cast(parameterOf(context, 'centroids'), 'f32');
      return haveCommon(inClusters(query, centroids, nearest), inClusters(key, centroids, nearest));
    }
    default:
      return by satisfies never;
  }
}

/** bool [B, heads, Lq, Lk] of memberships, 0 or 1. */
function haveCommon(query: Tensor, key: Tensor): Tensor {
  return lt(0.5, matmul(query, key, { transposeB: true }));
}

/** [B, heads, L, r buckets]: 1 for the bucket of each coordinate. */
function inBuckets(x: Tensor, buckets: number): Tensor {
  const [batch, heads, length, width] = x.shape as readonly [number, number, number, number];
  const place = cast(mul(add(tanh(x), 1), buckets / 2), 'i32');
  const own = reshape(min(place, buckets - 1), [batch, heads, length, width, 1]);
  const is = eq(own, arange(x.backend, buckets));
  return reshape(cast(is, 'f32'), [batch, heads, length, width * buckets]);
}

/** [B, heads, L, c]: 1 for each of the nearest centroids. */
function inClusters(x: Tensor, centroids: Tensor, nearest: number): Tensor {
  const near = neg(toCentroids(x, centroids));
  const { indices } = topK(where(elementIsNaN(near), Number.NEGATIVE_INFINITY, near), nearest);
  return putAlong(indices, fill(x.backend, 1, indices.shape), centroids.shape[1] as number);
}

/** Squared distances of x [B, heads, L, r] to the centroids of its head [heads, c, r]: [B, heads, L, c]. */
export function toCentroids(x: Tensor, centroids: Tensor): Tensor {
  const [heads, count] = centroids.shape as readonly [number, number];
  const squares = reshape(sum(mul(centroids, centroids), { axes: [2] }), [1, heads, 1, count]);
  const own = sum(mul(x, x), { axes: [3], keepDims: true });
  return sub(add(own, squares), mul(perHead(x, centroids), 2));
}

/** Squared distances of all pairs [B, heads, Lq, Lk]. */
function distances(query: Tensor, key: Tensor): Tensor {
  const squares = (of: Tensor): Tensor => sum(mul(of, of), { axes: [3], keepDims: true });
  const products = matmul(query, key, { transposeB: true });
  return sub(add(squares(query), transpose(squares(key), [0, 1, 3, 2])), mul(products, 2));
}

/** bool [Lq, Lk]: keys of the window, and the first ones. The last query is at the last key if it is causal, else the first at the first. */
function nearby({ query, key, options }: MechanismCall, { window, first }: PredictorSettings): Tensor {
  const [queries, keys] = [query.shape[2] as number, key.shape[2] as number];
  const start = options.causal === true ? keys - queries : 0;
  const rows = reshape(arange(query.backend, queries, start), [queries, 1]);
  const across = reshape(arange(query.backend, keys), [1, keys]);
  const inWindow = logicalAnd(le(sub(rows, window), across), le(across, add(rows, window)));
  const yes = fill(query.backend, true, [1, 1], 'bool');
  return where(lt(across, first), yes, inWindow);
}
