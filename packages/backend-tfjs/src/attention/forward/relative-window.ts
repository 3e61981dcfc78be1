import { type AttentionRequest, queryStartOf, relativeBuckets } from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import type { Tf, TfTensor } from '../../tf.js';
import type { QueryTile } from '../tiles.js';

/** Biases [heads, queries of the tile, visible] of the first `visible` keys by relative position. A new tensor. */
export type RelativeWindow = (tile: QueryTile, visible: number) => TfTensor;

/** Inputs of the biases of some heads. */
interface Distances {
  /** f32 [heads, distances]: biases by key - query, smallest first. */
  readonly byDistance: TfTensor;
  readonly heads: number;
  readonly count: number;
  /** Index of the distance between the first key and query 0. */
  readonly ofFirst: number;
}

/** For all tiles of at most `queries` queries of some heads. */
export function relativeWindow(
  engine: Engine,
  request: AttentionRequest,
  table: TfTensor,
  { firstHead, heads, queries }: { firstHead: number; heads: number; queries: number },
): RelativeWindow | undefined {
  const { tf, traits } = engine;
  const { relativeBias, queryLength, keyLength } = request;
  if (relativeBias === undefined) return undefined;
  const lastQuery = (Math.ceil(queryLength / queries) - 1) * queries;
  const count = keyLength + lastQuery + queries - 1;
  const ofFirst = queries - 1 + lastQuery;
  const smallest = -ofFirst - queryStartOf(request);
  const byDistance = tf.tidy(() => {
    const buckets = relativeBuckets(relativeBias, smallest, count);
    const ofHeads = tf.slice(table, [0, firstHead], [relativeBias.buckets, heads]);
    return tf.transpose(tf.gather(ofHeads, tf.tensor1d(buckets, 'int32')));
  });
  const distances = { byDistance, heads, count, ofFirst };
  return traits.isOnHost
    ? rowsOnHost(tf, distances)
    : partsOfWindow(tf, distances, queries, keyLength + lastQuery);
}

/** On the host: each row is one copy out of the vector. */
function rowsOnHost(tf: Tf, { byDistance, heads, count, ofFirst }: Distances): RelativeWindow {
  const biases = byDistance.dataSync<'float32'>();
  return ({ query, queries }, visible) => {
    const rows = new Float32Array(heads * queries * visible);
    for (let head = 0; head < heads; head++) {
      for (let at = 0; at < queries; at++) {
        const from = head * count + ofFirst - query - at;
        rows.set(biases.subarray(from, from + visible), (head * queries + at) * visible);
      }
    }
    return tf.tensor(rows, [heads, queries, visible], 'float32');
  };
}

/**
 * A window that each tile takes a part of: row i, column x has key - query = x - i - the last tile's first query. It
 * needs no index per element: the vector is repeated with a period one longer than the rows it is then cut into, so it
 * shifts by one from row to row.
 */
function partsOfWindow(
  tf: Tf,
  { byDistance, heads, count, ofFirst }: Distances,
  queries: number,
  columns: number,
): RelativeWindow {
  const window = tf.tidy(() => {
    if (queries === 1) return tf.reshape(byDistance, [heads, 1, columns]);
    const repeated = tf.tile(byDistance, [1, queries]);
    const shifted = tf.slice(repeated, [0, queries - 1], [heads, queries * (count - 1)]);
    repeated.dispose();
    return tf.slice(tf.reshape(shifted, [heads, queries, count - 1]), [0, 0, 0], [heads, queries, columns]);
  });
  byDistance.dispose();
  const lastQuery = ofFirst - (queries - 1);
  return (tile, visible) => tf.slice(window, [0, 0, lastQuery - tile.query], [heads, tile.queries, visible]);
}
