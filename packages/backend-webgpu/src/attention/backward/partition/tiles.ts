import type { UniformValues } from '../../../wgsl/define-kernel.js';
import type { SortGeometry } from '../layout/groups.js';

/** Most tiles of keys that a workgroup counts in its own memory. */
export const MOST_TILES = 1024;

/** Marks a block that holds no entries. */
export const NO_TILE = 0xffffffff;

/** What counting and moving entries by tile share. */
export const rowBlockUniforms = {
  rows_per_unit: 'u32',
  slots: 'u32',
  tiles: 'u32',
  row_blocks: 'u32',
  rows_per_block: 'u32',
  blocks: 'u32',
} as const;

export function rowBlocksOf(geometry: SortGeometry): UniformValues<typeof rowBlockUniforms> {
  const { units, rowsPerUnit, slots, tiles, rowBlocks, rowsPerBlock } = geometry;
  return {
    ...{ rows_per_unit: rowsPerUnit, slots, tiles },
    ...{ row_blocks: rowBlocks, rows_per_block: rowsPerBlock, blocks: units * rowBlocks },
  };
}

/** A variant of a kernel, by the size of its tiles. */
export type TileVariant = Pick<SortGeometry, 'keysPerTileLog2'>;
