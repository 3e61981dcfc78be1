import {
  add,
  arange,
  cast,
  concat,
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
import { type ChunkCall, mapPairChunks, rowsOfQueries } from './query-chunks.js';
import { withoutGradient } from './without-gradient.js';

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

/** What candidates are found by, of queries [B, heads, Lq, ...] and keys [B, heads, Lk, ...]. */
interface Sides {
  readonly query: Tensor;
  readonly key: Tensor;
}

/**
 * Keys of each query, ascending, -1 for unused slots: i32 [B, heads, Lq, M]. It has no gradient.
 *
 * @param pairs most pairs of a chunk of queries
 */
export function predictedGraph(call: MechanismCall, settings: PredictorSettings, pairs?: number): Tensor {
  const make = () => [scope(() => predicted(call, settings, pairs))] as const;
  const [graph] = withoutGradient('predictedGraph', [call.query, call.key], make);
  return graph;
}

function predicted(call: MechanismCall, settings: PredictorSettings, pairs: number | undefined): Tensor {
  const projection = cast(parameterOf(call.context, 'projection'), 'f32');
  const places = {
    query: perHead(cast(call.query, 'f32'), projection),
    key: perHead(shown(call, call.key), projection),
  };
  const members = membersOf(call, places, settings);
  const chunks = mapPairChunks(
    call,
    (part, chunk) => {
      const of = ({ query, key }: Sides): Sides => ({ query: rowsOfQueries(query, chunk), key });
      return [nearestKeys(call, part, of(places), members && of(members), settings)] as const;
    },
    pairs,
  );
  return concat(
    chunks.map(([graph]) => graph),
    2,
  );
}

/** The graph of a chunk of queries. Tensors of all its pairs are freed as soon as they are used. */
function nearestKeys(
  whole: MechanismCall,
  part: ChunkCall,
  places: Sides,
  members: Sides | undefined,
  settings: PredictorSettings,
): Tensor {
  const { key } = part;
  const nearness = scope(() => {
    const distance = distances(places);
    const candidates = members === undefined ? lt(distance, settings.radius ** 2) : haveCommon(members);
    return where(candidates, neg(distance), Number.NEGATIVE_INFINITY);
  });
  const seen = scope(() => {
    const visible = visiblePairs(part);
    // Always there: before any other.
    const ranked = where(nearby(whole, part, settings), fill(key.backend, 1, [1]), nearness);
    nearness.dispose();
    return visible === undefined ? ranked : where(visible, ranked, Number.NEGATIVE_INFINITY);
  });
  // Queries at padding may be NaN.
  const safe = scope(() => where(elementIsNaN(seen), Number.NEGATIVE_INFINITY, seen));
  seen.dispose();
  return topK(safe, Math.min(settings.edges, key.shape[2] as number)).indices;
}

/** Memberships, 0 or 1, of which candidates have one in common; undefined if distances decide. */
function membersOf(
  { context }: MechanismCall,
  { query, key }: Sides,
  { by, buckets, nearest }: PredictorSettings,
): Sides | undefined {
  switch (by) {
    case 'distance':
      return undefined;
    case 'buckets':
      return { query: inBuckets(query, buckets), key: inBuckets(key, buckets) };
    case 'clusters': {
      const centroids = cast(parameterOf(context, 'centroids'), 'f32');
      return { query: inClusters(query, centroids, nearest), key: inClusters(key, centroids, nearest) };
    }
    default:
      return by satisfies never;
  }
}

/** bool [B, heads, Lq, Lk] of memberships, 0 or 1. */
function haveCommon({ query, key }: Sides): Tensor {
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
function distances({ query, key }: Sides): Tensor {
  return scope(() => {
    const squares = (of: Tensor): Tensor => sum(mul(of, of), { axes: [3], keepDims: true });
    const products = scope(() => mul(matmul(query, key, { transposeB: true }), 2));
    return sub(
      scope(() => add(squares(query), transpose(squares(key), [0, 1, 3, 2]))),
      products,
    );
  });
}

/**
 * bool [queries of the chunk, Lk]: keys of the window, and the first ones. The last query of the whole call is at the last
 * key if it is causal, else the first at the first.
 */
function nearby(
  { query, key, options }: MechanismCall,
  { query: own, firstQuery = 0 }: ChunkCall,
  { window, first }: PredictorSettings,
): Tensor {
  const [queries, keys] = [query.shape[2] as number, key.shape[2] as number];
  const start = (options.causal === true ? keys - queries : 0) + firstQuery;
  const rows = reshape(arange(query.backend, own.shape[2] as number, start), [-1, 1]);
  const across = reshape(arange(query.backend, keys), [1, keys]);
  const inWindow = logicalAnd(le(sub(rows, window), across), le(across, add(rows, window)));
  const yes = fill(query.backend, true, [1, 1], 'bool');
  return where(lt(across, first), yes, inWindow);
}
