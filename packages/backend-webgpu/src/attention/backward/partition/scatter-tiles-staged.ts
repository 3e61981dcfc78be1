import { fill } from '../../../wgsl/fill.js';
import { groupIndex } from '../../shared/reductions.js';
import { exclusiveScan } from './scan.js';
import { text } from './scatter-tiles-staged.wgsl.js';

/** Capacity of the kernel, and its size. */
export interface Staging {
  readonly tileCapacity: number;
  /** Most entries of a block of rows. */
  readonly entries: number;
  /** Entries of one row at a time. */
  readonly invocations: 64 | 128 | 256;
}

/** Workgroup memory of the kernel, in bytes. */
export function stagedTilesBytes(tileCapacity: number, entries: number): number {
  return 8 * tileCapacity + 2 * entries + 1024;
}

/**
 * As the plain kernel, but the workgroup first sorts the numbers of its entries (at most `entries`) by tile, row after
 * row, in workgroup memory, and then moves tile after tile: runs of neighbours instead of scattered words. The next
 * row is loaded while one is sorted. Indices are read three times and pairs once, out of order, but from the cache.
 * Workgroup memory: `stagedTilesBytes`, with 16 bits per number, because its size limits how many workgroups run at a
 * time.
 */
export function stagedScatter(
  keysPerTileLog2: number,
  { tileCapacity, entries, invocations }: Staging,
): string {
  const each = Math.max(1, tileCapacity / invocations);
  return [
    groupIndex,
    exclusiveScan(invocations),
    fill(text, {
      ...{ each, tile_capacity: tileCapacity, staged_words: entries / 2 },
      ...{ keys_per_tile_log2: keysPerTileLog2, key_mask: 2 ** keysPerTileLog2 - 1 },
    }),
  ].join('\n');
}
