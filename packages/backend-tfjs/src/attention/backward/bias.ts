import type { Shape } from '@topk-attention/core';
import { type AttentionRequest, queryStartOf, relativeBuckets } from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import { sum } from '../../ops/reduce.js';
import { scatterRows } from '../../ops/scatter-rows.js';
import type { TfTensor } from '../../tf.js';
import type { QueryTile } from '../tiles.js';

/** What the bias gradients need from a tile. */
export interface TileGradient {
  readonly tile: QueryTile;
  /** Keys [batches, query heads, queries, k], -1 in unused slots. */
  readonly keys: Int32Array;
  /** Gradient of the scores, [batches, query heads, queries, k]. */
  readonly scores: TfTensor;
}

/** The tile's part of dBias, summed over axes along which the bias has extent 1. */
export function biasGradient(
  engine: Engine,
  bias: Shape,
  keyLength: number,
  { keys, scores }: TileGradient,
): TfTensor {
  const { tf } = engine;
  const [batches = 0, heads = 0, queries = 0, k = 0] = scores.shape;
  const summed = [0, 1, 2].filter((axis) => bias[axis] === 1);
  if (bias[3] === 1) return sum(engine, scores, [...summed, 3]);
  const extents = scores.shape.map((extent, axis) => (bias[axis] === 1 ? 1 : extent));
  const [ofBatch = 0, ofHead = 0, ofQuery = 0] = extents;
  // Rows that share a row of the bias add up; unused slots go to an additional key.
  const at = new Int32Array(keys.length);
  let slot = 0;
  for (let b = 0; b < batches; b++) {
    for (let h = 0; h < heads; h++) {
      for (let q = 0; q < queries; q++) {
        const row = ((b % ofBatch) * ofHead + (h % ofHead)) * ofQuery + (q % ofQuery);
        for (const end = slot + k; slot < end; slot++) {
          const key = keys[slot] as number;
          at[slot] = row * (keyLength + 1) + (key < 0 ? keyLength : key);
        }
      }
    }
  }
  const rows = ofBatch * ofHead * ofQuery;
  return tf.tidy(() => {
    const sums = sumOfSlots(engine, at, scores, rows * (keyLength + 1));
    const kept = tf.slice(tf.reshape(sums, [rows, keyLength + 1]), [0, 0], [rows, keyLength]);
    return tf.reshape(kept, [ofBatch, ofHead, ofQuery, keyLength]);
  });
}

/** [count]: sums of the score gradients by place. */
function sumOfSlots(engine: Engine, at: Int32Array, scores: TfTensor, count: number): TfTensor {
  const { tf, traits } = engine;
  if (traits.isOnHost) return scatterRows(engine, at, tf.reshape(scores, [at.length, 1]), count);
  return tf.scatterND(tf.tensor(at, [at.length, 1], 'int32'), tf.reshape(scores, [at.length]), [count]);
}

/** Buckets by key - query + Lq - 1, from 0 to Lq + Lk - 2. */
export function bucketsByDistance(request: AttentionRequest): Int32Array | undefined {
  const { relativeBias, queryLength, keyLength } = request;
  if (relativeBias === undefined) return undefined;
  return relativeBuckets(relativeBias, 1 - queryLength - queryStartOf(request), queryLength + keyLength - 1);
}

/** [buckets, query heads of the tile]: sums of the score gradients by bucket of relative position. */
export function tableGradient(
  engine: Engine,
  request: AttentionRequest,
  buckets: Int32Array,
  { tile, keys, scores }: TileGradient,
): TfTensor {
  const { tf } = engine;
  const [, heads = 0, queries = 0, k = 0] = scores.shape;
  const count = request.relativeBias?.buckets ?? 0;
  const last = request.queryLength - 1 - tile.query;
  const at = Int32Array.from(keys, (key, slot) => {
    const row = Math.floor(slot / k);
    const head = Math.floor(row / queries) % heads;
    // Unused slots go to an additional bucket.
    const bucket = key < 0 ? count : (buckets[key + last - (row % queries)] as number);
    return head * (count + 1) + bucket;
  });
  return tf.tidy(() => {
    const sums = sumOfSlots(engine, at, scores, heads * (count + 1));
    return tf.transpose(tf.slice(tf.reshape(sums, [heads, count + 1]), [0, 0], [heads, count]));
  });
}
