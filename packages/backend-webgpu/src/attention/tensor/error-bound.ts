/**
 * The bound of the filter: how far its score of a key may be from the true one.
 *
 * The filter computes s16 = q16 . k16 with q16 the f16 rounding of q * r, |q * r| = QUERY_NORM, and k16 that of k * f, where f
 * is a power of two per head that brings the largest element into [2^7, 2^8). (So no finite key leaves f16's range, and
 * |s16| <= 16 * 2^8 * sqrt(D) < 65,504 for D up to 128.) The true value, in the same units, is s = r f (q . k). Then
 * |s16 - s| <= E = QUERY_NORM * |k f| * RELATIVE + ABSOLUTE, the sum of
 *
 * - rounding q and k to f16, nearest: u = 2^-11 relative per factor, 2 u + u^2 of sum |q_i k_i| <= |q||k| (Cauchy-Schwarz).
 *   Keys that are stored as f16 are exact: a power of two changes no digit;
 * - elements below 2^-14, f16's normal range, which a device may take for zero: up to 2^-14 each. For q that is
 *   2^-14 sum |k_i| <= 2^-14 sqrt(D) |k|, at QUERY_NORM = 16 and D = 128 2^-14.5 of |q||k|; for k it is
 *   2^-14 sum |q_i| <= 2^-14 * 16 * sqrt(D), the absolute term;
 * - 1/|q| and |k| in f32: 2^-17 each;
 * - sums in tensor cores, f32 but truncated, at most 2^-22 of the sum of magnitudes per addition: 2^-15 taken for D = 128;
 * - the rescoring in f32 that the lists are made for: (D / 8 + 3) 2^-24 < 2^-19.
 *
 * In units of 2^-10: 1 + 0.0005 + 0.044 + 0.016 + 0.031 + 0.002 = 1.094, half of the 1 less for keys stored as f16.
 * A key with a NaN or an infinity gets E = UNBOUNDED: it is always listed, and the finish sees what it is.
 */
export const QUERY_NORM = 16;

export function relativeBound(keysAreHalf: boolean): number {
  return (keysAreHalf ? 0.625 : 1.125) * 2 ** -10;
}

export function absoluteBound(headDim: number): number {
  return QUERY_NORM * Math.sqrt(headDim) * 2 ** -14;
}

/** Far above every score of the filter, far below the largest f32. */
export const UNBOUNDED = 1e30;

/** Exponent e such that keys are brought into [2^e, 2^(e + 1)). */
export const KEY_EXPONENT = 7;

/** Relative slack of a threshold that is turned from the filter's units into scores: two roundings and |q|. */
export const THRESHOLD_SLACK: number = 2 ** -15;
