import type { Span } from '../../runtime/kernel.js';

/**
 * The rows of one chunk: queries `queryStart ..` of heads `headStart ..`, where batch and head are one number,
 * batch * queryHeads + head. Row r is head `headStart + floor(r / queryCount)`, query `queryStart + r mod queryCount`.
 * Queries past the last one are padding: nothing is read or written for them.
 */
export interface RowBlock {
  readonly headStart: number;
  readonly headCount: number;
  readonly queryStart: number;
  readonly queryCount: number;
}

export function rowsOf({ headCount, queryCount }: RowBlock): number {
  return headCount * queryCount;
}

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
  /** Keys that a list holds: a multiple of 32, at least 2 k (see `capacityFor`). */
  readonly capacity: number;
}

/** Largest k of `recordFinish`. */
export const LARGEST_K = 512;

/** The usual capacity of a list: twice k, rounded up to a power of two, at least 64. */
export function capacityFor(k: number): number {
  return Math.max(64, 2 ** Math.ceil(Math.log2(2 * k)));
}

/** Places for kept keys while they are sorted: a power of two, at least k for every k that the capacity serves. */
export function placesOf(capacity: number): number {
  return 2 ** Math.ceil(Math.log2(capacity / 2));
}

/** u32 words of the counters that `recordFinish` adds to, when it is given a buffer for them. */
export const COUNTER_WORDS = 8;

/** Where each counter lies, in words. They add up over chunks until somebody clears them. */
export const COUNTERS = {
  /** Rows that went to the slow path. */
  flagged: 0,
  /** Of these, rows whose list was too long or was refused by the filter. */
  overflowed: 1,
  /** Every 32nd row is looked at for the next two: how many rows, and the sum of their counts. */
  sampledRows: 2,
  sampledCounts: 3,
  /** The longest count of those rows, also when it overflowed. */
  longest: 4,
  /** Rows of all blocks, and flagged rows of the last block. */
  rows: 5,
  flaggedInLast: 6,
  /** Blocks for which the filter should not estimate: set when it was wrong too often, counted down. */
  caution: 7,
} as const;

/** More flagged rows than one in this many make the filter cautious, for this many blocks. */
export const FLAGGED_ONE_IN = 1024;
export const CAUTIOUS_BLOCKS = 64;
