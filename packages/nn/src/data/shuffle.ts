import { philox4x32, philoxKey } from '@topk-attention/core/backend';

/** Keeps a run's random streams distinct. */
const SHUFFLE_STREAM = 0x5f3759df;

/**
 * A Fisher-Yates permutation of 0 .. n - 1 from a seed and a counter, such as the epoch: the same on every runtime.
 */
export function permutation(n: number, seed: number, counter: number): Int32Array {
  const key = philoxKey(seed);
  const order = Int32Array.from({ length: n }, (_, i) => i);
  let words: readonly number[] = [];
  for (let last = n - 1, drawn = 0; last > 0; last--, drawn++) {
    if (drawn % 4 === 0) words = philox4x32([drawn / 4, counter, 0, SHUFFLE_STREAM], key);
    // A word has 32 bits: the bias is n / 2^32.
    const other = Math.floor(((words[drawn % 4] as number) / 0x1_0000_0000) * (last + 1));
    const moved = order[last] as number;
    order[last] = order[other] as number;
    order[other] = moved;
  }
  return order;
}
