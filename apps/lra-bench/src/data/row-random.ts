import { philox4x32, philoxKey } from '@topk-attention/core/backend';

/** Keeps these streams apart from those of shuffles and dropout. */
const STREAM = 0x6c7261;

/**
 * Uniform numbers in [0, 1) for one row of generated data (sfc32, its state from Philox). A row depends on its seed,
 * split and index alone, so rows can be made in any order, or by several processes.
 */
export function rowRandom(seed: number, split: number, row: number): () => number {
  let [a = 0, b = 0, c = 0, d = 0] = philox4x32([row, split, 0, STREAM], philoxKey(seed));
  return () => {
    const sum = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  };
}

/** A whole number from 0 up to, not including, `end`. */
export function below(random: () => number, end: number): number {
  return Math.floor(random() * end);
}
