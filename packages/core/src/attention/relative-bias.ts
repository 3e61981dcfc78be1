import type { AttentionRequest } from '../contract/attention.js';
import { type BucketOptions, bucketOf, checkBuckets } from '../contract/relative-buckets.js';
import { queryStartOf, relativeBuckets } from '../contract/request-facts.js';
import { arange, tensor } from '../ops/create.js';
import { add, lt, sub, where } from '../ops/elementwise.js';
import { reshape, transpose } from '../ops/layout.js';
import { gatherRows, takeAlong } from '../ops/select.js';
import { aBoolean, aNumber, type OptionKinds, readOptions, required } from '../tensor/read-options.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

const bucketKinds: OptionKinds<BucketOptions> = {
  bidirectional: required(aBoolean),
  buckets: required(aNumber),
  maxDistance: required(aNumber),
};

/**
 * T5's bucket for a relative position (key minus query). Half of the buckets hold a single distance each, the rest grow
 * logarithmically up to `maxDistance`; bidirectional tables use their upper half for keys after the query.
 * Source: Raffel et al. 2020, section 2.1, as in the published checkpoints.
 *
 * @throws TopKError INVALID_OPTION where the rule has no meaning: fewer than 4 buckets (one-sided: 2), or a maxDistance
 * that the single distances already reach (a quarter of the buckets; one-sided: half of them).
 */
export function relativePositionBucket(relativePosition: number, options: BucketOptions): number {
  if (!isChecked(options)) {
    const { bidirectional, buckets, maxDistance } = readOptions(
      'relativePositionBucket',
      options,
      bucketKinds,
    );
    checkBuckets('relativePositionBucket', { bidirectional, buckets, maxDistance });
    checked = { given: options, bidirectional, buckets, maxDistance };
  }
  return bucketOf(relativePosition, options);
}

/** The options of the last call: a loop over positions passes the same ones each time. */
let checked: (BucketOptions & { readonly given: BucketOptions }) | undefined;

function isChecked(options: BucketOptions): boolean {
  return (
    checked?.given === options &&
    checked.bidirectional === options.bidirectional &&
    checked.buckets === options.buckets &&
    checked.maxDistance === options.maxDistance
  );
}

/**
 * Buckets of every relative position in the chunk of queries start .. start + size - 1: entry r is the bucket of
 * relative position r - offset, where offset = start + size - 1 + queryStart.
 */
function bucketsOfChunk(request: AttentionRequest, start: number, size: number): Int32Array {
  const { relativeBias, keyLength } = request;
  if (relativeBias === undefined) return new Int32Array(0);
  const offset = start + size - 1 + queryStartOf(request);
  return relativeBuckets(relativeBias, -offset, keyLength + size - 1);
}

/** [1, Hq, size, Lk]: the bias of one chunk; looks up only size + Lk - 1 rows of the table. */
export function relativeBiasChunk(
  table: Tensor,
  keyPositions: Tensor,
  request: AttentionRequest,
  start: number,
  size: number,
): Tensor {
  const { queryHeads, keyLength } = request;
  const { backend } = table;
  return scope(() => {
    // Inner scope: score-sized tensors must not outlive their use.
    const rows = scope(() => {
      const buckets = tensor(backend, bucketsOfChunk(request, start, size), [1, keyLength + size - 1]);
      const perPosition = gatherRows(reshape(table, [1, ...table.shape]), buckets);
      return gatherRows(perPosition, reshape(positionIndices(keyPositions, size), [1, size * keyLength]));
    });
    return reshape(transpose(rows, [0, 2, 1]), [1, queryHeads, size, keyLength]);
  });
}

/** i32 [1, 1, size, Lk]: the entry of `bucketsOfChunk` that belongs to (query, key). */
function positionIndices(keyPositions: Tensor, size: number): Tensor {
  return scope(() => {
    const queries = reshape(arange(keyPositions.backend, size), [1, 1, size, 1]);
    return add(sub(keyPositions, queries), size - 1);
  });
}

/** i32 [1, size * Lk]: the bucket of each (query, key) of a chunk. */
export function bucketsOfKeys(
  keyPositions: Tensor,
  request: AttentionRequest,
  start: number,
  size: number,
): Tensor {
  const { keyLength } = request;
  return scope(() => {
    const { backend } = keyPositions;
    const buckets = tensor(backend, bucketsOfChunk(request, start, size), [1, keyLength + size - 1]);
    return takeAlong(buckets, reshape(positionIndices(keyPositions, size), [1, size * keyLength]));
  });
}

/** i32 of the shape of `indices` [B, Hq, size, m]: the bucket of each kept key, -1 where the index is -1. */
export function bucketsOfKept(
  indices: Tensor,
  request: AttentionRequest,
  start: number,
  size: number,
): Tensor {
  const { backend } = indices;
  return scope(() => {
    const buckets = tensor(backend, bucketsOfChunk(request, start, size), [1, request.keyLength + size - 1]);
    const queries = reshape(arange(backend, size), [1, 1, size, 1]);
    const isUnused = lt(indices, 0);
    const at = where(isUnused, -1, add(sub(indices, queries), size - 1));
    return where(isUnused, -1, reshape(takeAlong(buckets, reshape(at, [1, indices.size])), indices.shape));
  });
}
