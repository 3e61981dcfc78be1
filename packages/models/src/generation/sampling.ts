import { philox4x32, philoxKey } from '@topk-attention/core/backend';
import { kthLargest } from '../kth-largest.js';
import type { Sampling } from './strategy.js';

/** Tells these random numbers from others of the same seed: the last word of the counter. */
const SAMPLING_STREAM = 0x73616d70;

/** A number from 0 (included) to 1 for a step of a row, from 53 random bits: it depends on nothing else. */
export function uniform(seed: number, row: number, step: number): number {
  const [high, low] = philox4x32([step, row, 0, SAMPLING_STREAM], philoxKey(seed));
  return ((high >>> 6) * 2 ** 27 + (low >>> 5)) / 2 ** 53;
}

/**
 * The probability of each token once temperature, topK, topP and minP have been applied, in transformers' order. Those
 * that are left out get 0. At least one is left in, if one has a score above -Infinity.
 */
export function probabilities(
  logits: Float64Array,
  { temperature, topK, topP, minP }: Omit<Sampling, 'seed'>,
): Float64Array {
  // Counted from the best one, because a small temperature would make others infinite.
  const best = largest(logits);
  const scores = temperature === 1 ? logits : logits.map((logit) => (logit - best) / temperature);
  const kept = topK > 0 && topK < scores.length ? withBest(scores, topK) : scores;
  let shares = softmax(kept);
  if (topP < 1) shares = withNucleus(shares, topP);
  if (minP > 0) shares = withShare(shares, minP);
  return shares;
}

/** The token in whose part of [0, 1) the number falls, where parts are laid out by id. */
export function draw(shares: Float64Array, at: number): number {
  let before = 0;
  let last = -1;
  for (let id = 0; id < shares.length; id++) {
    const share = shares[id] as number;
    if (share === 0) continue;
    last = id;
    before += share;
    if (at < before) return id;
  }
  // Rounding: the parts add up to a little less than 1.
  return last;
}

export function softmax(scores: Float64Array): Float64Array {
  const best = largest(scores);
  return normalised(scores.map((score) => Math.exp(score - best)));
}

function largest(numbers: Float64Array): number {
  let best = Number.NEGATIVE_INFINITY;
  for (const one of numbers) if (one > best) best = one;
  return best;
}

function normalised(shares: Float64Array): Float64Array {
  let total = 0;
  for (const share of shares) total += share;
  return shares.map((share) => share / total);
}

/** The k best and their ties. */
function withBest(scores: Float64Array, k: number): Float64Array {
  const least = kthLargest(scores, k);
  return scores.map((score) => (score < least ? Number.NEGATIVE_INFINITY : score));
}

/** The fewest, most likely first, that reach a probability of `mass`; of equal ones the lower id. */
function withNucleus(shares: Float64Array, mass: number): Float64Array {
  const ids = [...shares.keys()].filter((id) => (shares[id] as number) > 0);
  ids.sort((a, b) => (shares[b] as number) - (shares[a] as number) || a - b);
  const kept = new Float64Array(shares.length);
  let reached = 0;
  for (const id of ids) {
    kept[id] = shares[id] as number;
    reached += shares[id] as number;
    if (reached >= mass) break;
  }
  return normalised(kept);
}

function withShare(shares: Float64Array, share: number): Float64Array {
  const least = share * largest(shares);
  return normalised(shares.map((one) => (one < least ? 0 : one)));
}
