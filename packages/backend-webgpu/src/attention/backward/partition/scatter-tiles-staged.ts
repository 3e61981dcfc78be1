import { groupIndex } from '../../shared/reductions.js';
import { exclusiveScan } from './scan.js';

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
  return `
var<workgroup> next: array<atomic<u32>, ${tileCapacity}>;
// What to add to a staged place to get that in the tile.
var<workgroup> shift: array<u32, ${tileCapacity}>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, ${entries / 2}>;
${groupIndex}
${exclusiveScan(invocations)}
fn stage(key: i32, number: u32) {
  if (key >= 0) {
    let at = atomicAdd(&next[u32(key) >> ${keysPerTileLog2}u], 1u);
    atomicOr(&staged[at / 2u], number << (16u * (at % 2u)));
  }
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  let first_row = in_unit * params.rows_per_block;
  let rows = min(params.rows_per_unit - first_row, params.rows_per_block);
  let first = (unit * params.rows_per_unit + first_row) * params.slots;
  let base = params.indices_base + first;
  for (var tile = t; tile < ${tileCapacity}u; tile += INVOCATIONS) { atomicStore(&next[tile], 0u); }
  for (var word = t; word < ${entries / 2}u; word += INVOCATIONS) { atomicStore(&staged[word], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < rows * params.slots; entry += INVOCATIONS) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&next[u32(key) >> ${keysPerTileLog2}u], 1u); }
  }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < ${each}u; i++) {
    let tile = t * ${each}u + i;
    if (tile < ${tileCapacity}u) { own += atomicLoad(&next[tile]); }
  }
  var at = scanned(own, t);
  let total = scan_total();
  for (var i = 0u; i < ${each}u; i++) {
    let tile = t * ${each}u + i;
    if (tile < ${tileCapacity}u) {
      let count = atomicLoad(&next[tile]);
      atomicStore(&next[tile], at);
      if (tile < params.tiles) {
        let place = unit * params.tiles + tile;
        shift[tile] = (unit * params.entry_blocks + info[place].x) * params.block_entries
          + counts[place * params.row_blocks + in_unit] - at;
      }
      at += count;
    }
  }
  let has_slot = t < params.slots;
  var key = -1;
  if (has_slot) { key = indices[base + t]; }
  workgroupBarrier();
  for (var row = 0u; row < rows; row++) {
    var next_key = -1;
    if (has_slot && row + 1u < rows) { next_key = indices[base + (row + 1u) * params.slots + t]; }
    stage(key, row * params.slots + t);
    for (var s = t + INVOCATIONS; s < params.slots; s += INVOCATIONS) {
      stage(indices[base + row * params.slots + s], row * params.slots + s);
    }
    key = next_key;
    workgroupBarrier();
  }
  for (var place = t; place < total; place += INVOCATIONS) {
    let entry = (atomicLoad(&staged[place / 2u]) >> (16u * (place % 2u))) & 0xffffu;
    let key_of = u32(indices[base + entry]);
    let row = first_row + entry / params.slots;
    let to = shift[key_of >> ${keysPerTileLog2}u] + place;
    tile_keys[to] = (row << ${keysPerTileLog2}u) | (key_of & ${2 ** keysPerTileLog2 - 1}u);
    tile_weights[to] = weights[first + entry];
  }
}`;
}
