import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, read, write } from '../../../wgsl/define-kernel.js';
import { fill } from '../../../wgsl/fill.js';
import { times } from '../../../wgsl/text.js';
import { groupIndex } from '../../shared/reductions.js';
import type { SortGeometry } from '../layout/groups.js';
import { exclusiveScan } from './scan.js';
import { text } from './scatter-keys.wgsl.js';
import { NO_TILE, type TileVariant } from './tiles.js';

const WORDS_OF_BITS = 1024;

/** Workgroup memory of the kernel, in bytes. */
export function scatterKeysBytes(keys: number, entries: number): number {
  return 4 * Math.max(WORDS_OF_BITS, keys) + 8 * keys + 2 * entries + 4 * 256;
}

interface ScatterVariant extends TileVariant {
  /** Most entries of a block. */
  readonly entries: number;
}

/**
 * Puts the entries of a block (at most `entries`) in the order (key, row). One workgroup per block: it first orders
 * the numbers of its entries in workgroup memory. The place of an entry is that of the block's first entry of its key,
 * plus the number of earlier entries of that key, counted in a bit map of (key, entry). Then it writes key after key,
 * so that neighbours are written side by side. Reads keys three times and weights once, partly from the cache; writes
 * both once. Workgroup memory: `scatterKeysBytes`.
 *
 * Where a piece of the sorted list begins or ends, the key there (counted over units, plus one) is noted, to identify
 * pieces of a single key.
 */
const scatterKeysKernel = kernelFamily(
  'attention-backward scatter-keys',
  ({ keysPerTileLog2, entries }: ScatterVariant) => {
    const keys = 2 ** keysPerTileLog2;
    const words = Math.min(8, Math.max(1, WORDS_OF_BITS / keys));
    const invocations = 32 * words;
    const each = Math.max(1, keys / invocations);
    return {
      uniforms: {
        blocks: 'u32',
        entry_blocks: 'u32',
        tiles: 'u32',
        block_entries: 'u32',
        keys: 'u32',
        rows_per_unit: 'u32',
        piece_entries: 'u32',
      },
      buffers: {
        block_tiles: read('u32'),
        info: read('vec4u'),
        tile_keys: read('u32'),
        tile_weights: read('vec2f'),
        places: read('u32'),
        sorted_rows: write('u32'),
        sorted_weights: write('vec2f'),
        piece_keys: write('u32'),
      },
      workgroup: invocations,
      source: () =>
        [
          groupIndex,
          exclusiveScan(invocations),
          fill(text, {
            ...{ keys, each, keys_per_tile_log2: keysPerTileLog2, no_tile: NO_TILE },
            key_mask: keys - 1,
            bit_words: words * keys,
            staged_words: entries / 2,
            add_words_before: times(
              words,
              (i) => `      if (word > ${i}u) { at += countOneBits(atomicLoad(&bits[${i * keys}u + key])); }`,
              '\n',
            ),
            bits_of_words: times(
              words,
              (i) => `countOneBits(atomicLoad(&bits[${i * keys}u + counted]))`,
              ' + ',
            ),
          }),
        ].join('\n'),
    };
  },
);

export function recordScatterKeys(
  stream: Stream,
  geometry: SortGeometry,
  buffers: Readonly<
    Record<
      | 'block_tiles'
      | 'info'
      | 'tile_keys'
      | 'tile_weights'
      | 'places'
      | 'sorted_rows'
      | 'sorted_weights'
      | 'piece_keys',
      Span
    >
  >,
): void {
  const { keysPerTileLog2, units, rowsPerUnit, tiles, keys, blockEntries, entryBlocks } = geometry;
  const blocks = units * entryBlocks;
  scatterKeysKernel({ keysPerTileLog2, entries: blockEntries }).launch(stream, {
    uniforms: {
      ...{ blocks, tiles, keys, rows_per_unit: rowsPerUnit },
      ...{ entry_blocks: entryBlocks, block_entries: blockEntries },
      piece_entries: geometry.pieceEntries,
    },
    buffers,
    workgroups: blocks,
  });
}
