import { type KeptRows, kthLargest, RowKeeper } from './kept-rows.js';

/** Groups per kept key, whose maxima bound the k-th score: with four, some 1.15 k scores reach the bound. */
const GROUPS_PER_KEPT = 4;
/** With fewer keys per kept one, every score is a candidate. */
const KEYS_PER_KEPT = 8;

/**
 * The k largest of each row of `scores` [rows, keys], by a loop in JavaScript that reads each score twice: the k-th
 * largest of the maxima of groups of keys is a lower bound of the k-th largest score, and hardly more than k scores
 * reach it. Only the first `visible(row)` keys are valid.
 */
export function selectByScript(
  scores: Float32Array,
  rows: number,
  keys: number,
  k: number,
  visible: (row: number) => number,
): KeptRows {
  const kept = new RowKeeper(rows, k);
  const maxima = new Float32Array(2 * GROUPS_PER_KEPT * k);
  const candidates = new Float32Array(keys);
  const candidateKeys = new Int32Array(keys);
  for (let row = 0; row < rows; row++) {
    const first = row * keys;
    const end = first + Math.min(visible(row), keys);
    const bound = boundOf(scores, first, end, k, maxima);
    let count = 0;
    let hasNaN = false;
    for (let at = first; at < end; at++) {
      const score = scores[at] as number;
      // Not `>=`, so that a NaN is seen.
      if (!(score < bound)) {
        if (score === Number.NEGATIVE_INFINITY) continue;
        if (Number.isNaN(score)) {
          hasNaN = true;
          continue;
        }
        candidates[count] = score;
        candidateKeys[count] = at - first;
        count++;
      }
    }
    kept.keep(candidates, candidateKeys, 0, count);
    if (hasNaN) kept.spoil();
  }
  return kept;
}

/** A lower bound of the k-th largest of scores[first .. end), ignoring NaN; -inf where looking for one does not pay. */
function boundOf(scores: Float32Array, first: number, end: number, k: number, maxima: Float32Array): number {
  const size = Math.floor((end - first) / (GROUPS_PER_KEPT * k));
  if (end - first < KEYS_PER_KEPT * k || size < 2) return Number.NEGATIVE_INFINITY;
  let groups = 0;
  // An incomplete last group is left out: a lower bound for some scores holds for all.
  for (let from = first; from + size <= end && groups < maxima.length; from += size) {
    let largest = Number.NEGATIVE_INFINITY;
    for (let at = from; at < from + size; at++) {
      const score = scores[at] as number;
      if (score > largest) largest = score;
    }
    maxima[groups++] = largest;
  }
  return kthLargest(maxima, groups, k);
}
