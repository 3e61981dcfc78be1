import type { RelativeBiasOptions } from './attention.js';
import { TopKError } from './errors.js';

/** What the bucket rule needs in addition to the position. */
export interface BucketOptions extends RelativeBiasOptions {
  /** Rows of the table. */
  readonly buckets: number;
}

/** Throws INVALID_OPTION for a table that the bucket rule cannot index. */
export function checkBuckets(where: string, { bidirectional, buckets, maxDistance }: BucketOptions): void {
  const least = bidirectional ? 4 : 2;
  if (!Number.isInteger(buckets) || buckets < least) {
    throw new TopKError('INVALID_OPTION', `${where}: too few buckets of relative positions`, {
      expected: `a whole number of at least ${least}, ${bidirectional ? 'bidirectional' : 'one-sided'}`,
      got: String(buckets),
    });
  }
  const single = singleDistances(bidirectional ? Math.floor(buckets / 2) : buckets);
  if (Number.isInteger(maxDistance) && maxDistance > single) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad relativeBias.maxDistance`, {
    expected: `a whole number above ${single}, the number of distances with their own bucket`,
    got: String(maxDistance),
  });
}

/** How many distances, starting at 0, have one of the `buckets` to themselves. */
function singleDistances(buckets: number): number {
  return Math.floor(buckets / 2);
}

/** `relativePositionBucket` for checked options. */
export function bucketOf(relativePosition: number, options: BucketOptions): number {
  let buckets = options.buckets;
  let first = 0;
  let distance: number;
  if (options.bidirectional) {
    buckets = Math.floor(buckets / 2);
    if (relativePosition > 0) first = buckets;
    distance = Math.abs(relativePosition);
  } else {
    distance = Math.max(-relativePosition, 0);
  }
  const exact = singleDistances(buckets);
  if (distance < exact) return first + distance;
  // f32 rounding as in the published code: a bucket edge must not move by one.
  const ratio = Math.fround(
    Math.fround(Math.log(Math.fround(distance / exact))) / Math.fround(Math.log(options.maxDistance / exact)),
  );
  const large = exact + Math.trunc(Math.fround(ratio * (buckets - exact)));
  return first + Math.min(large, buckets - 1);
}
