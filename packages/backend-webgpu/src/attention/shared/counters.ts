/** u32 words of the counters updated by the paths with candidate lists. */
export const COUNTER_WORDS = 8;

/** Where each counter lies, in words. They accumulate over parts until cleared. */
export const COUNTERS = {
  /** Rows that went to the slow path. */
  flagged: 0,
  /** Of these, rows whose list was too long or was refused by the filter. */
  overflowed: 1,
  /** The next two sample every 32nd row: how many rows, and the sum of their counts. */
  sampledRows: 2,
  sampledCounts: 3,
  /** The longest count of those rows, even when it overflowed. */
  longest: 4,
  /** Of the tensor path: rows of all parts, and flagged rows of the last part. */
  rows: 5,
  flaggedInLast: 6,
  /**
   * Of the tensor path: number of parts for which the filter should not estimate; set when it was wrong too often,
   * then counted down.
   */
  caution: 7,
} as const;
