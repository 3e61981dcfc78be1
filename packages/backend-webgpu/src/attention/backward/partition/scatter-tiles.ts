import type { Binding } from '../../../runtime/binding.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, read, readFrom, write } from '../../../wgsl/define-kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import type { SortGeometry } from '../layout/groups.js';
import { type Staging, stagedScatter } from './scatter-tiles-staged.js';
import { MOST_TILES, rowBlocksOf, rowBlockUniforms, type TileVariant } from './tiles.js';

interface ScatterVariant extends TileVariant {
  /** Undefined: too many slots to stage, so entries go straight to their tiles. */
  readonly staging?: Staging | undefined;
}

/**
 * Moves every entry (row, key, weight pair) to its tile of keys. One workgroup per block of rows, one row after the
 * other: entries of one row have different keys, so their relative order does not matter, and for each key the entries
 * stay in the order of the rows. Reads indices and pairs once, writes them once. Workgroup memory: 4 KiB.
 *
 * An entry is (row << keysPerTileLog2) + key within the tile, where the row counts from the unit's first.
 */
const scatterTilesKernel = kernelFamily(
  'attention-backward scatter-tiles',
  ({ keysPerTileLog2, staging }: ScatterVariant) => ({
    uniforms: { ...rowBlockUniforms, block_entries: 'u32', entry_blocks: 'u32' },
    buffers: {
      indices: readFrom('i32'),
      weights: read('vec2f'),
      counts: read('u32'),
      info: read('vec4u'),
      tile_keys: write('u32'),
      tile_weights: write('vec2f'),
    },
    workgroup: staging?.invocations ?? 128,
    source: () => (staging ? stagedScatter(keysPerTileLog2, staging) : plainScatter(keysPerTileLog2)),
  }),
);

/** One invocation per slot, within reason. */
function stagingOf({ slots, tileCapacity, stagedEntries }: SortGeometry): Staging | undefined {
  if (stagedEntries === 0) return undefined;
  return { tileCapacity, entries: stagedEntries, invocations: slots <= 64 ? 64 : slots <= 128 ? 128 : 256 };
}

export function recordScatterTiles(
  stream: Stream,
  geometry: SortGeometry,
  buffers: Readonly<Record<'indices', Binding>> &
    Readonly<Record<'weights' | 'counts' | 'info' | 'tile_keys' | 'tile_weights', Span>>,
): void {
  const { keysPerTileLog2, units, rowBlocks, blockEntries, entryBlocks } = geometry;
  scatterTilesKernel({ keysPerTileLog2, staging: stagingOf(geometry) }).launch(stream, {
    uniforms: { ...rowBlocksOf(geometry), block_entries: blockEntries, entry_blocks: entryBlocks },
    buffers,
    workgroups: units * rowBlocks,
  });
}

function plainScatter(keysPerTileLog2: number): string {
  return `
var<workgroup> next: array<atomic<u32>, ${MOST_TILES}>;
${groupIndex}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  for (var tile = t; tile < params.tiles; tile += INVOCATIONS) {
    let place = unit * params.tiles + tile;
    atomicStore(&next[tile], (unit * params.entry_blocks + info[place].x) * params.block_entries
      + counts[place * params.row_blocks + in_unit]);
  }
  workgroupBarrier();
  let end = min(params.rows_per_unit, (in_unit + 1u) * params.rows_per_block);
  for (var row = in_unit * params.rows_per_block; row < end; row++) {
    let first = (unit * params.rows_per_unit + row) * params.slots;
    for (var s = t; s < params.slots; s += INVOCATIONS) {
      let key = indices[params.indices_base + first + s];
      if (key >= 0) {
        let at = atomicAdd(&next[u32(key) >> ${keysPerTileLog2}u], 1u);
        tile_keys[at] = (row << ${keysPerTileLog2}u) | (u32(key) & ${2 ** keysPerTileLog2 - 1}u);
        tile_weights[at] = weights[first + s];
      }
    }
    workgroupBarrier();
  }
}`;
}
