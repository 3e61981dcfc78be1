/**
 * The filter's error bound: how far its score of a key may be from the true one.
 *
 * Keys are taken relative to the centre c of their head: all scores of one query move by q . c, which changes no
 * order. The filter computes s16 = q16 . k16 with q16 the f16 rounding of r q, |r q| = QUERY_NORM, and k16 that of
 * f (k - c), where f is a power of two per head that brings the largest element into [2^7, 2^8). So no finite key
 * leaves f16's range, and |s16| <= 16 * 2^8 * sqrt(D) < 65,504 for D up to 128. In the same units the true score is
 * s = r q . f (k - c). Then
 *
 *     |s16 - s| <= E = QUERY_NORM |f (k - c)| RELATIVE_BOUND + absoluteBound(D),
 *
 * the relative part being the sum of these, relative to |q||k| (Cauchy-Schwarz: sum |q_i k_i| <= |q||k|) and in units
 * of 2^-10:
 *
 * - 1 + 2^-12: rounding q and k to f16, to nearest, 2^-11 each;
 * - 0.044: elements of r q below 2^-14, f16's normal range, which a device may flush to zero: at most
 *   2^-14 sum |k_i| <= 2^-14 sqrt(D) |k|, that is 2^-14.5 of |q||k| at QUERY_NORM = 16 and D = 128;
 * - 0.016: 1 / |q| and |k| in f32, 2^-17 each;
 * - 0.031: sums in tensor cores, f32 but truncated: 2^-15, for at most 2^-22 of the sum of magnitudes per addition;
 * - 0.002: the f32 rescoring that the lists are made for, (D / 8 + 3) 2^-24 < 2^-19, and k - c;
 *
 * 1.094 in total. The absolute bound covers elements of k below 2^-14: at most 2^-14 sum |q_i| <= 2^-14 * 16 sqrt(D).
 *
 * A key with a NaN or an infinity gets E = UNBOUNDED: it is always listed, and the finish handles it.
 */
export const RELATIVE_BOUND: number = 1.125 * 2 ** -10;

export const QUERY_NORM = 16;

export function absoluteBound(headDim: number): number {
  return QUERY_NORM * Math.sqrt(headDim) * 2 ** -14;
}

/** Far above every score of the filter, far below the largest f32. */
export const UNBOUNDED = 1e30;

/** Exponent e such that keys are scaled into [2^e, 2^(e + 1)). */
export const KEY_EXPONENT = 7;

/** Relative slack of a threshold converted from the filter's units to scores: two roundings and |q|. */
export const THRESHOLD_SLACK: number = 2 ** -15;

/** Relative to |q||c|: how far q . c in f32, and the rescoring's share of it, may be off; (D / 8 + 8) 2^-24 each. */
export const SHIFT_DOUBT: number = 2 ** -18;
