import { type AttentionRequest, relativePositionBucket, type Shape } from '@topk-attention/core';
import type { Tf, TfTensor } from '../tf.js';
import type { TileGradient } from './backward-tile.js';

/** The tile's part of dBias: the extents of the bias that are 1 are summed over, the others are those of the tile. */
export function biasGradient(
  tf: Tf,
  bias: Shape,
  keyLength: number,
  { indices, scores }: TileGradient,
): TfTensor {
  const [batches = 0, heads = 0, queries = 0, k = 0] = indices.shape;
  const summed = [0, 1, 2].filter((axis) => bias[axis] === 1);
  if (bias[3] === 1) return tf.sum(scores, [...summed, 3], true);
  const extents = indices.shape.map((extent, axis) => (bias[axis] === 1 ? 1 : extent));
  const [ofBatch = 0, ofHead = 0, ofQuery = 0] = extents;
  return tf.tidy(() => {
    // Slots of rows that share a row of the bias add up; unused ones go to a key behind the last.
    const first = new Int32Array(batches * heads * queries);
    let row = 0;
    for (let b = 0; b < batches; b++) {
      for (let h = 0; h < heads; h++) {
        for (let q = 0; q < queries; q++) {
          first[row++] =
            (((b % ofBatch) * ofHead + (h % ofHead)) * ofQuery + (q % ofQuery)) * (keyLength + 1);
        }
      }
    }
    const key = tf.where(tf.less(indices, tf.scalar(0, 'int32')), tf.scalar(keyLength, 'int32'), indices);
    const at = tf.add(tf.reshape(key, [row, k]), tf.tensor(first, [row, 1], 'int32'));
    const rows = ofBatch * ofHead * ofQuery;
    const sums = tf.scatterND(tf.reshape(at, [row * k, 1]), tf.reshape(scores, [row * k]), [
      rows * (keyLength + 1),
    ]);
    const kept = tf.slice(tf.reshape(sums, [rows, keyLength + 1]), [0, 0], [rows, keyLength]);
    return tf.reshape(kept, [ofBatch, ofHead, ofQuery, keyLength]);
  });
}

/** i32 [Lq + Lk - 1]: the bucket of key - query + Lq - 1; positions are aligned to the end. */
export function bucketsByDistance(tf: Tf, request: AttentionRequest): TfTensor | undefined {
  const { relativeBias, queryLength, keyLength } = request;
  if (relativeBias === undefined) return undefined;
  const buckets = Int32Array.from({ length: queryLength + keyLength - 1 }, (_, at) =>
    relativePositionBucket(at - (keyLength - 1), relativeBias),
  );
  return tf.tensor(buckets, [buckets.length], 'int32');
}

/** [buckets, query heads of the tile]: sums of the score gradients by bucket of relative position. */
export function tableGradient(
  tf: Tf,
  request: AttentionRequest,
  buckets: TfTensor,
  { tile, indices, scores }: TileGradient,
): TfTensor {
  const [, heads = 0, queries = 0] = indices.shape;
  const count = request.relativeBias?.buckets ?? 0;
  return tf.tidy(() => {
    const isUnused = tf.less(indices, tf.scalar(0, 'int32'));
    const shift = Int32Array.from(
      { length: queries },
      (_, index) => request.queryLength - 1 - (tile.query + index),
    );
    const distance = tf.add(
      tf.maximum(indices, tf.scalar(0, 'int32')),
      tf.tensor(shift, [1, 1, queries, 1], 'int32'),
    );
    const bucket = tf.reshape(tf.gatherND(buckets, tf.reshape(distance, [indices.size, 1])), indices.shape);
    // Unused slots go to a bucket behind the last.
    const own = tf.where(isUnused, tf.scalar(count, 'int32'), bucket);
    const first = tf.mul(tf.range(0, heads, 1, 'int32'), tf.scalar(count + 1, 'int32'));
    const at = tf.add(own, tf.reshape(first, [1, heads, 1, 1]));
    const sums = tf.scatterND(tf.reshape(at, [indices.size, 1]), tf.reshape(scores, [indices.size]), [
      heads * (count + 1),
    ]);
    return tf.transpose(tf.slice(tf.reshape(sums, [heads, count + 1]), [0, 0], [heads, count]));
  });
}
