import type { Kernel } from '../../../runtime/kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import { MOST_TILES } from './tiles.js';

const INVOCATIONS = 128;

/**
 * Moves every entry (row, key, weight pair) to its tile of keys. One workgroup a block of rows, one row after the other:
 * entries of one row have different keys, so their order among themselves does not matter, and for each key the entries
 * stay in the order of the rows. Reads indices and pairs once, writes them once. Workgroup memory: 4 KiB.
 *
 * An entry is (row << keysPerTileLog2) + key within the tile, where the row counts from the first of the unit's.
 */
export function scatterTilesKernel(keysPerTileLog2: number): Kernel {
  return {
    key: `attention-backward scatter-tiles ${keysPerTileLog2}`,
    buffers: ['read', 'read', 'read', 'read', 'write', 'write'],
    source: () => `
struct Params {
  rows_per_unit: u32, slots: u32, tiles: u32, row_blocks: u32,
  rows_per_block: u32, blocks: u32, index_base: u32, block_entries: u32,
  entry_blocks: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> weights: array<vec2f>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read> info: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> tile_keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> tile_weights: array<vec2f>;
var<workgroup> next: array<atomic<u32>, ${MOST_TILES}>;
${groupIndex}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  for (var tile = t; tile < params.tiles; tile += ${INVOCATIONS}u) {
    let place = unit * params.tiles + tile;
    atomicStore(&next[tile], (unit * params.entry_blocks + info[place].x) * params.block_entries
      + counts[place * params.row_blocks + in_unit]);
  }
  workgroupBarrier();
  let end = min(params.rows_per_unit, (in_unit + 1u) * params.rows_per_block);
  for (var row = in_unit * params.rows_per_block; row < end; row++) {
    let first = (unit * params.rows_per_unit + row) * params.slots;
    for (var s = t; s < params.slots; s += ${INVOCATIONS}u) {
      let key = indices[params.index_base + first + s];
      if (key >= 0) {
        let at = atomicAdd(&next[u32(key) >> ${keysPerTileLog2}u], 1u);
        tile_keys[at] = (row << ${keysPerTileLog2}u) | (u32(key) & ${2 ** keysPerTileLog2 - 1}u);
        tile_weights[at] = weights[first + s];
      }
    }
    workgroupBarrier();
  }
}`,
  };
}
