import { ALIGNMENT } from './runtime/binding.js';

const ALIGNED_WORDS = ALIGNMENT / 4;

/** Words that a window of that many elements takes: the next one begins where a binding may. */
function windowWords(size: number): number {
  return Math.max(1, Math.ceil(size / ALIGNED_WORDS)) * ALIGNED_WORDS;
}

/** Where tensors of those sizes begin that share a buffer, in words, and the words of all. */
export function windowsOf(sizes: readonly number[]): {
  readonly places: readonly number[];
  readonly words: number;
} {
  const places: number[] = [];
  let words = 0;
  for (const size of sizes) {
    places.push(words);
    words += windowWords(size);
  }
  return { places, words };
}
