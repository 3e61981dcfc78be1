import type { Kernel } from '../../../runtime/kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import { NO_TILE } from './tiles.js';

const INVOCATIONS = 256;

/**
 * How often each key of its tile occurs in a block of entries: counts[block][key in tile]. One workgroup a block; reads the
 * entries once. Workgroup memory: 4 bytes a key of the tile.
 */
export function countKeysKernel(keysPerTileLog2: number): Kernel {
  const keys = 2 ** keysPerTileLog2;
  return {
    key: `attention-backward count-keys ${keysPerTileLog2}`,
    buffers: ['read', 'read', 'read', 'write'],
    source: () => `
struct Params { blocks: u32, entry_blocks: u32, tiles: u32, block_entries: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_tiles: array<u32>;
@group(0) @binding(2) var<storage, read> info: array<vec4u>;
@group(0) @binding(3) var<storage, read> tile_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
var<workgroup> count: array<atomic<u32>, ${keys}>;
${groupIndex}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == ${NO_TILE}u) { return; }
  let place = info[(block / params.entry_blocks) * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  for (var key = t; key < ${keys}u; key += ${INVOCATIONS}u) { atomicStore(&count[key], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < entries; entry += ${INVOCATIONS}u) {
    atomicAdd(&count[tile_keys[block * params.block_entries + entry] & ${keys - 1}u], 1u);
  }
  workgroupBarrier();
  for (var key = t; key < ${keys}u; key += ${INVOCATIONS}u) {
    counts[block * ${keys}u + key] = atomicLoad(&count[key]);
  }
}`,
  };
}
