import type { Span } from '../../runtime/kernel.js';

/**
 * What a filter hands to `recordFinish`: for every row the keys that can be among its k best.
 *
 * The promise of the filter, per row: every valid key whose score is NaN or is at least the row's threshold T, in f32
 * and in the order of summation of `scoreText`, is in the list once; or the count is above `capacity`, which sends the
 * row to the slow path (that is also how a filter hands over a row that it cannot judge). A filter that sums in another
 * order lowers its own bar, or raises T, by its error bound. T = -inf says that all valid keys are listed. Keys that
 * are not valid may be listed: validity is looked up again.
 */
export interface Candidates {
  /** u32 [rows, capacity]: key indices, ascending. `recordFinish` overwrites it. */
  readonly lists: Span;
  /** u32 [rows, 2]: the count of listed keys, then the bits of T (f32). */
  readonly heads: Span;
  /** Keys that a list holds: a multiple of 32, at least 2 k. */
  readonly capacity: number;
}

/** Places for kept keys while they are sorted: a power of two, at least k for every k that the capacity serves. */
export function placesOf(capacity: number): number {
  return 2 ** Math.ceil(Math.log2(capacity / 2));
}

/** If more than one row in this many is flagged, the filter is cautious for this many parts. */
export const FLAGGED_ONE_IN = 1024;
export const CAUTIOUS_PARTS = 64;
