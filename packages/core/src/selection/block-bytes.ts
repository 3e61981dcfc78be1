import type { Selection } from '../contract/choices.js';

/** Two-level selection: scores, a copy padded to whole blocks, and the candidates with the keys they stand for. */
export function blockBytes(selection: Selection, keyLength: number, rows: number, k: number): number {
  if (selection.levels === 1) return 0;
  const { blockSize } = selection;
  const blocks = Math.ceil(keyLength / blockSize);
  const padded = keyLength % blockSize === 0 ? 0 : blocks * blockSize;
  // The last terms: lists of chosen blocks and kept keys, and the overhead per row and per block.
  return 4 * rows * (keyLength + padded + blocks + 4 * k * blockSize + 7 * k + 2) + 12 * blockSize;
}
