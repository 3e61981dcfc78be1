/** u32 words of the counters that the paths with candidate lists add to. */
export const COUNTER_WORDS = 8;

/** Where each counter lies, in words. They add up over parts until somebody clears them. */
export const COUNTERS = {
  /** Rows that went to the slow path. */
  flagged: 0,
  /** Of these, rows whose list was too long or was refused by the filter. */
  overflowed: 1,
  /** Every 32nd row is looked at for the next two: how many rows, and the sum of their counts. */
  sampledRows: 2,
  sampledCounts: 3,
  /** The longest count of those rows, even when it overflowed. */
  longest: 4,
  /** Of the tensor path: rows of all parts, and flagged rows of the last part. */
  rows: 5,
  flaggedInLast: 6,
  /** Of the tensor path: parts for which the filter should not estimate; set when it was wrong too often, counted down. */
  caution: 7,
} as const;
