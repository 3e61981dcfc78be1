import type { Shape } from './shape.js';

/** Of each row a random entry with a weight and one without; the package mechanisms declares it. */
export interface DrawnEntriesRequest {
  /** Of the weights: [B, heads, Lq, Lk]. */
  readonly shape: Shape;
  /** Shape of `visible`, if given: as many axes, each as long as that of the weights or 1. */
  readonly visible?: Shape;
  /** A whole number from 0 to 2^53 - 1. */
  readonly seed: number;
  /** The place of the first row of Lq among those that the words are drawn for. */
  readonly firstQuery: number;
  readonly saves?: boolean;
}

export interface DrawnEntriesInputs<T> {
  /** f32: an entry above 0 has a weight; NaN is none. */
  readonly weights: T;
  /** bool: which of the entries without a weight count. Default: all. */
  readonly visible?: T;
}

/**
 * Places in rows, i32 [B, heads, Lq, 1], -1 where there is no such entry: that of the largest random word, the lower one of
 * equals. The word of entry [b, h, q, k] is that of `randomBits` at (b, h, firstQuery + q, k) as i32, rounded to f32.
 */
export interface DrawnEntriesOutputs<T> {
  /** Among the entries with a weight. */
  readonly positive: T;
  /** Among the visible ones without. */
  readonly negative: T;
}
