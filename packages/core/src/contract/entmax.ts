import type { Shape } from './shape.js';

/** Entmax with alpha 1.5 of the last axis of f32 scores; see `entmax15` of the package mechanisms. */
export interface EntmaxRequest {
  /** Of the scores: at least one axis. */
  readonly shape: Shape;
  /** Shape of `visible`, if given: as many axes, each as long as that of the scores or 1. */
  readonly visible?: Shape;
  readonly saves?: boolean;
}

/**
 * Newton's steps for rows of n entries. The length of the part above tau is convex in tau: a step that leaves the share r of
 * the slope leaves at most 1 - r of what the length is above 1. The slope lies between 1 and the root of n, so that it can
 * be halved log2(n) / 2 times; then right digits double. Of rows with 16,384 entries the worst that a search found need 9
 * steps to be right in f32, with 1,024 entries 7, and with 128 entries 6: there are two more.
 */
export function entmaxSteps(entries: number): number {
  return 4 + Math.ceil(Math.log2(Math.max(1, entries)) / 2);
}

export interface EntmaxInputs<T> {
  readonly scores: T;
  /** bool: what is hidden counts as -inf, whatever its score holds. */
  readonly visible?: T;
}

export interface EntmaxOutputs<T> {
  /**
   * [...shape]: max(z / 2 - tau, 0)^2, which sums to 1 in each row; zeros for a row of -inf, NaN for one with NaN or +inf.
   */
  readonly weights: T;
}

export interface EntmaxGradientInputs<T> {
  readonly weights: T;
  readonly dWeights: T;
}

export interface EntmaxGradients<T> {
  /** [...shape]: s (g - (s . g) / sum s) in each row, s the roots of the weights; zeros where these are all 0. */
  readonly scores: T;
}
