import { ALIGNMENT } from './runtime/binding.js';

/** Windows begin at multiples of this many words, as bindings do. */
export const WINDOW_STEP: number = ALIGNMENT / 4;

/** Words that a window of that many elements takes: the next one begins where a binding may. */
function windowWords(size: number): number {
  return Math.max(1, Math.ceil(size / WINDOW_STEP)) * WINDOW_STEP;
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
