import type { Binding } from '../../../runtime/binding.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../../wgsl/define-kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import type { SortGeometry } from '../layout/groups.js';
import { MOST_TILES, rowBlocksOf, rowBlockUniforms, type TileVariant } from './tiles.js';

/**
 * How many entries of each tile of keys a block of rows has: counts[unit][tile][block]. One workgroup per block; reads
 * the indices once. Workgroup memory: 4 KiB. Counts with integer atomics: any order gives the same numbers.
 */
const countTilesKernel = kernelFamily(
  'attention-backward count-tiles',
  ({ keysPerTileLog2 }: TileVariant) => ({
    uniforms: rowBlockUniforms,
    buffers: { indices: readFrom('i32'), counts: write('u32') },
    workgroup: 256,
    source: () => `
var<workgroup> count: array<atomic<u32>, ${MOST_TILES}>;
${groupIndex}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  for (var tile = t; tile < params.tiles; tile += INVOCATIONS) { atomicStore(&count[tile], 0u); }
  workgroupBarrier();
  let first = in_unit * params.rows_per_block;
  let end = min(params.rows_per_unit, first + params.rows_per_block);
  let base = params.indices_base + unit * params.rows_per_unit * params.slots;
  for (var entry = first * params.slots + t; entry < end * params.slots; entry += INVOCATIONS) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&count[u32(key) >> ${keysPerTileLog2}u], 1u); }
  }
  workgroupBarrier();
  for (var tile = t; tile < params.tiles; tile += INVOCATIONS) {
    counts[(unit * params.tiles + tile) * params.row_blocks + in_unit] = atomicLoad(&count[tile]);
  }
}`,
  }),
);

export function recordCountTiles(
  stream: Stream,
  geometry: SortGeometry,
  buffers: { readonly indices: Binding; readonly counts: Span },
): void {
  const { keysPerTileLog2, units, rowBlocks } = geometry;
  countTilesKernel({ keysPerTileLog2 }).launch(stream, {
    uniforms: rowBlocksOf(geometry),
    buffers,
    workgroups: units * rowBlocks,
  });
}
