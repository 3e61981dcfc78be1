import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { defineKernel, read, write } from '../../../wgsl/define-kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import type { SortGeometry } from '../layout/groups.js';
import { exclusiveScan } from './scan.js';
import { MOST_TILES, NO_TILE } from './tiles.js';

const INVOCATIONS = 256;

/**
 * Replaces each count of one tile (one workgroup each) by the number of its entries in earlier blocks of rows, and
 * keeps the total. Reads and writes the counts once. Workgroup memory: 1 KiB.
 */
const scanBlocksKernel = defineKernel({
  key: 'attention-backward scan-blocks',
  uniforms: { row_blocks: 'u32', tiles: 'u32' },
  buffers: { counts: write('u32'), totals: write('u32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${exclusiveScan(INVOCATIONS)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let tile = group_index(group, groups);
  if (tile >= params.tiles) { return; }
  var before = 0u;
  for (var first = 0u; first < params.row_blocks; first += INVOCATIONS) {
    let block = first + t;
    let at = tile * params.row_blocks + block;
    var count = 0u;
    if (block < params.row_blocks) { count = counts[at]; }
    let sum = scanned(count, t);
    if (block < params.row_blocks) { counts[at] = before + sum; }
    before += scan_total();
  }
  if (t == 0u) { totals[tile] = before; }
}`,
});

/**
 * Places of the tiles of one unit (one workgroup each): info[tile] = (first block of entries, entries, first place in the
 * sorted list), and the tile of every block. Workgroup memory: 5 KiB.
 */
const placeTilesKernel = defineKernel({
  key: 'attention-backward place-tiles',
  uniforms: { tiles: 'u32', block_entries: 'u32', entry_blocks: 'u32', entries: 'u32' },
  buffers: { totals: read('u32'), info: write('vec4u'), block_tiles: write('u32') },
  workgroup: INVOCATIONS,
  source: () => `
var<workgroup> first_blocks: array<u32, ${MOST_TILES}>;
${exclusiveScan(INVOCATIONS)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let unit = group.x;
  let base = unit * params.tiles;
  var blocks_before = 0u;
  var entries_before = unit * params.entries;
  for (var first = 0u; first < params.tiles; first += INVOCATIONS) {
    let tile = first + t;
    var count = 0u;
    if (tile < params.tiles) { count = totals[base + tile]; }
    let blocks = (count + params.block_entries - 1u) / params.block_entries;
    let block = blocks_before + scanned(blocks, t);
    blocks_before += scan_total();
    let entry = entries_before + scanned(count, t);
    entries_before += scan_total();
    if (tile < params.tiles) {
      info[base + tile] = vec4u(block, count, entry, 0u);
      first_blocks[tile] = block;
    }
  }
  workgroupBarrier();
  for (var block = t; block < params.entry_blocks; block += INVOCATIONS) {
    var tile = ${NO_TILE}u;
    if (block < blocks_before) {
      // The last tile that begins at or before the block and is not empty.
      var low = 0u;
      var high = params.tiles;
      while (high - low > 1u) {
        let middle = (low + high) / 2u;
        if (first_blocks[middle] <= block) { low = middle; } else { high = middle; }
      }
      tile = low;
    }
    block_tiles[unit * params.entry_blocks + block] = tile;
  }
}`,
});

export function recordScanBlocks(
  stream: Stream,
  { units, tiles, rowBlocks }: SortGeometry,
  buffers: { readonly counts: Span; readonly totals: Span },
): void {
  scanBlocksKernel.launch(stream, {
    uniforms: { row_blocks: rowBlocks, tiles: units * tiles },
    buffers,
    workgroups: units * tiles,
  });
}

export function recordPlaceTiles(
  stream: Stream,
  { units, rowsPerUnit, slots, tiles, blockEntries, entryBlocks }: SortGeometry,
  { totals, info, blockTiles }: Readonly<Record<'totals' | 'info' | 'blockTiles', Span>>,
): void {
  placeTilesKernel.launch(stream, {
    uniforms: {
      tiles,
      block_entries: blockEntries,
      entry_blocks: entryBlocks,
      entries: rowsPerUnit * slots,
    },
    buffers: { totals, info, block_tiles: blockTiles },
    workgroups: units,
  });
}
