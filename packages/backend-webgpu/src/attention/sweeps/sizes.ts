/**
 * Sizes of the sweeps, derived from k alone. The first sweep looks at one key in 2^shift of every row, spread evenly,
 * and uses the rank-th largest of what it saw as the row's threshold; the second lists every key above it. Nothing
 * here affects a result: a row whose list is too short or too long is selected again from all of its scores.
 */

/** Largest k that the sweeps take. */
export const LARGEST_K = 512;
/** The sparsest sample is one key in 8: sparser ones cost more in longer lists than they save. */
const LARGEST_SHIFT = 3;
/** Standard deviations between the expected number of listed keys and k, or the capacity. */
const MARGIN = 4;

/** Rank whose expected list of `rank << shift` keys is longer than k by some standard deviations. */
export function rankOf(k: number, shift: number): number {
  if (shift === 0) return k;
  const step = 2 ** shift;
  // The k best contribute k / step of the sample; `rank` of the sample represent
  // rank * step +- step * sqrt(rank).
  const root = (MARGIN + Math.sqrt(MARGIN ** 2 + (4 * k) / step)) / 2;
  return Math.ceil(root ** 2);
}

/** Values of the first sweep that a row keeps: maxima of disjoint groups of keys. */
export function groupsOf(k: number): number {
  return Math.max(512, 4 * 2 ** Math.ceil(Math.log2(k)));
}

/** Keys that a list holds, a multiple of 32. */
export function capacityOf(k: number): number {
  const rank = rankOf(k, LARGEST_SHIFT);
  const step = 2 ** LARGEST_SHIFT;
  // If two of the best share a group, only one counts, so the threshold lies a little lower than the rank says.
  const shared = 1 + rank / (2 * groupsOf(k));
  const expected = rank * step * shared;
  return 32 * Math.ceil((expected + (MARGIN + 1) * step * Math.sqrt(rank)) / 32);
}

/** How sparse the sample is for rows that see at most `visible` keys. */
export function shiftOf(k: number, visible: number): number {
  const groups = groupsOf(k);
  let shift = 0;
  while (shift < LARGEST_SHIFT && visible > 4 * groups * 2 ** shift) shift++;
  return shift;
}
