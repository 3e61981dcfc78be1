import { type AttentionRequest, relativePositionBucket } from '@topk-attention/core';
import type { Tf, TfTensor } from '../tf.js';

/** Biases by relative position for every tile of some heads. */
export interface RelativeWindow {
  /** f32 [heads, queries, columns]: row i, column x is key - query = x - i - `lastQuery` (queries aligned to the end). */
  readonly biases: TfTensor;
  /** First query of the last tile. */
  readonly lastQuery: number;
}

/**
 * The window that all tiles of at most `queries` queries read: the one that begins at query s reads columns lastQuery - s
 * and on. Made out of the vector of biases by distance without an index per element: the vector, repeated with a period one
 * longer than the rows that it is then cut into, moves on by one from row to row.
 */
export function relativeWindow(
  tf: Tf,
  request: AttentionRequest,
  table: TfTensor,
  { firstHead, heads, queries }: { firstHead: number; heads: number; queries: number },
): RelativeWindow | undefined {
  const { relativeBias, queryLength, keyLength } = request;
  if (relativeBias === undefined) return undefined;
  const lastQuery = (Math.ceil(queryLength / queries) - 1) * queries;
  const columns = keyLength + lastQuery;
  const distances = columns + queries - 1;
  const smallest = -(queries - 1) - lastQuery - (keyLength - queryLength);
  const biases = tf.tidy(() => {
    const buckets = Int32Array.from({ length: distances }, (_, at) =>
      relativePositionBucket(at + smallest, relativeBias),
    );
    const ofHeads = tf.slice(table, [0, firstHead], [relativeBias.buckets, heads]);
    const byDistance = tf.transpose(tf.gather(ofHeads, tf.tensor1d(buckets, 'int32')));
    if (queries === 1) return tf.reshape(byDistance, [heads, 1, columns]);
    const repeated = tf.tile(byDistance, [1, queries]);
    const shifted = tf.slice(repeated, [0, queries - 1], [heads, queries * (distances - 1)]);
    repeated.dispose();
    return tf.slice(
      tf.reshape(shifted, [heads, queries, distances - 1]),
      [0, 0, 0],
      [heads, queries, columns],
    );
  });
  return { biases, lastQuery };
}
