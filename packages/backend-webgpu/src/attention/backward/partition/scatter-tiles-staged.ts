import { fill } from '../../../wgsl/fill.js';
import { groupIndex } from '../../shared/reductions.js';
import { exclusiveScan } from './scan.js';
import { text } from './scatter-tiles-staged.wgsl.js';

/** Room that the kernel has, and its size. */
export interface Staging {
  readonly tileCapacity: number;
  /** Of a block of rows, at most. */
  readonly entries: number;
  /** Entries of one row at a time. */
  readonly invocations: 64 | 128 | 256;
}

/** Workgroup memory of the kernel, in bytes. */
export function stagedTilesBytes(tileCapacity: number, entries: number): number {
  return 8 * tileCapacity + 2 * entries + 1024;
}

/**
 * As the plain kernel, but the workgroup first puts the numbers of its entries (at most `entries`) in the order of the
 * tiles, row after row, in its own memory, and then moves tile after tile: runs of neighbours instead of words far apart.
 * The next row is on its way while one is put in order. Indices are read three times and pairs once, out of order, but
 * from the cache. Workgroup memory: `stagedTilesBytes`; 16 bits a number, because what a workgroup takes of it decides how
 * many of them run at a time.
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
