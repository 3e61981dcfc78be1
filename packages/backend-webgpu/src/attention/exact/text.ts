import type { ExactTile } from './tile.js';

export const range = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);

/** Statements below each other, empty ones left out. */
export const lines = (parts: readonly string[]): string => parts.filter((part) => part !== '').join('\n');

/** The place of row r of a thread in the tile of queries: 4 neighbours, then the next group of 4. */
export function rowText(tile: ExactTile, row: number): string {
  const rowsApart = 4 * (tile.threads / tile.columns);
  return `ty * 4u + ${(row >> 2) * rowsApart + (row & 3)}u`;
}
