import type { Kernel } from '../../../runtime/kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import { MOST_TILES } from './tiles.js';

const INVOCATIONS = 256;

/**
 * How many entries of each tile of keys a block of rows has: counts[unit][tile][block]. One workgroup a block; reads the
 * indices once. Workgroup memory: 4 KiB. Counting with integer atomics: any order gives the same numbers.
 */
export function countTilesKernel(keysPerTileLog2: number): Kernel {
  return {
    key: `attention-backward count-tiles ${keysPerTileLog2}`,
    buffers: ['read', 'write'],
    source: () => `
struct Params { rows_per_unit: u32, slots: u32, tiles: u32, row_blocks: u32, rows_per_block: u32, blocks: u32, index_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
var<workgroup> count: array<atomic<u32>, ${MOST_TILES}>;
${groupIndex}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  for (var tile = t; tile < params.tiles; tile += ${INVOCATIONS}u) { atomicStore(&count[tile], 0u); }
  workgroupBarrier();
  let first = in_unit * params.rows_per_block;
  let end = min(params.rows_per_unit, first + params.rows_per_block);
  let base = params.index_base + unit * params.rows_per_unit * params.slots;
  for (var entry = first * params.slots + t; entry < end * params.slots; entry += ${INVOCATIONS}u) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&count[u32(key) >> ${keysPerTileLog2}u], 1u); }
  }
  workgroupBarrier();
  for (var tile = t; tile < params.tiles; tile += ${INVOCATIONS}u) {
    counts[(unit * params.tiles + tile) * params.row_blocks + in_unit] = atomicLoad(&count[tile]);
  }
}`,
  };
}
