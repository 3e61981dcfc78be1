import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, read, write } from '../../../wgsl/define-kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import type { SortGeometry } from '../layout/groups.js';
import { NO_TILE, type TileVariant } from './tiles.js';

/**
 * How often each key of its tile occurs in a block of entries: counts[block][key in tile]. One workgroup per block;
 * reads the entries once. Workgroup memory: 4 bytes per key of the tile.
 */
const countKeysKernel = kernelFamily('attention-backward count-keys', ({ keysPerTileLog2 }: TileVariant) => {
  const keys = 2 ** keysPerTileLog2;
  return {
    uniforms: { blocks: 'u32', entry_blocks: 'u32', tiles: 'u32', block_entries: 'u32' },
    buffers: {
      block_tiles: read('u32'),
      info: read('vec4u'),
      tile_keys: read('u32'),
      counts: write('u32'),
    },
    workgroup: 256,
    source: () => `
var<workgroup> count: array<atomic<u32>, ${keys}>;
${groupIndex}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == ${NO_TILE}u) { return; }
  let place = info[(block / params.entry_blocks) * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  for (var key = t; key < ${keys}u; key += INVOCATIONS) { atomicStore(&count[key], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < entries; entry += INVOCATIONS) {
    atomicAdd(&count[tile_keys[block * params.block_entries + entry] & ${keys - 1}u], 1u);
  }
  workgroupBarrier();
  for (var key = t; key < ${keys}u; key += INVOCATIONS) {
    counts[block * ${keys}u + key] = atomicLoad(&count[key]);
  }
}`,
  };
});

export function recordCountKeys(
  stream: Stream,
  { keysPerTileLog2, units, tiles, blockEntries, entryBlocks }: SortGeometry,
  buffers: Readonly<Record<'block_tiles' | 'info' | 'tile_keys' | 'counts', Span>>,
): void {
  const blocks = units * entryBlocks;
  countKeysKernel({ keysPerTileLog2 }).launch(stream, {
    uniforms: { blocks, entry_blocks: entryBlocks, tiles, block_entries: blockEntries },
    buffers,
    workgroups: blocks,
  });
}
