import type { Kernel } from '../../../runtime/kernel.js';
import { groupIndex } from '../wgsl.js';
import { NO_TILE } from './scan-tiles.js';

const WORDS_OF_BITS = 2048;

/**
 * Puts the entries of a block in the order (key, row): the place of an entry is that of the block's first one of its key,
 * and the number of such entries before it, counted in a bit map of (key, entry). One workgroup a block. Reads and writes
 * entries once. Workgroup memory: at most 8 KiB of bits, and 4 bytes a key of the tile.
 *
 * Where a piece of the sorted list begins or ends, the key there (counted over units, plus one) is noted, so that pieces
 * of one key alone can be told.
 */
export function scatterKeysKernel(keysPerTileLog2: number): Kernel {
  const keys = 2 ** keysPerTileLog2;
  const words = Math.min(8, WORDS_OF_BITS / keys);
  const invocations = 32 * words;
  const each = (body: (word: number) => string): string =>
    Array.from({ length: words }, (_, i) => body(i)).join('');
  return {
    key: `attention-backward scatter-keys ${keysPerTileLog2}`,
    buffers: ['read', 'read', 'read', 'read', 'read', 'write', 'write', 'write'],
    source: () => `
struct Params {
  blocks: u32, entry_blocks: u32, tiles: u32, block_entries: u32,
  keys: u32, rows_per_unit: u32, piece_entries: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_tiles: array<u32>;
@group(0) @binding(2) var<storage, read> info: array<vec4u>;
@group(0) @binding(3) var<storage, read> tile_keys: array<u32>;
@group(0) @binding(4) var<storage, read> tile_weights: array<vec2f>;
@group(0) @binding(5) var<storage, read> places: array<u32>;
@group(0) @binding(6) var<storage, read_write> sorted_rows: array<u32>;
@group(0) @binding(7) var<storage, read_write> sorted_weights: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> piece_keys: array<u32>;
var<workgroup> bits: array<atomic<u32>, ${words * keys}>;
var<workgroup> next: array<u32, ${keys}>;
${groupIndex}
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == ${NO_TILE}u) { return; }
  let unit = block / params.entry_blocks;
  let place = info[unit * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  for (var key = t; key < ${keys}u; key += ${invocations}u) { next[key] = places[block * ${keys}u + key]; }
  let word = t / 32u;
  let bit = 1u << (t % 32u);
  for (var first = 0u; first < entries; first += ${invocations}u) {
    for (var at = t; at < ${words * keys}u; at += ${invocations}u) { atomicStore(&bits[at], 0u); }
    workgroupBarrier();
    let source = block * params.block_entries + first + t;
    let is_entry = first + t < entries;
    var entry = 0u;
    if (is_entry) {
      entry = tile_keys[source];
      atomicOr(&bits[word * ${keys}u + (entry & ${keys - 1}u)], bit);
    }
    workgroupBarrier();
    if (is_entry) {
      let key = entry & ${keys - 1}u;
      var at = next[key] + countOneBits(atomicLoad(&bits[word * ${keys}u + key]) & (bit - 1u));
${each((i) => `      if (word > ${i}u) { at += countOneBits(atomicLoad(&bits[${i * keys}u + key])); }\n`)}
      sorted_rows[at] = unit * params.rows_per_unit + (entry >> ${keysPerTileLog2}u);
      sorted_weights[at] = tile_weights[source];
      let in_piece = at % params.piece_entries;
      let marked = unit * params.keys + tile * ${keys}u + key + 1u;
      if (in_piece == 0u) { piece_keys[2u * (at / params.piece_entries)] = marked; }
      if (in_piece == params.piece_entries - 1u) { piece_keys[2u * (at / params.piece_entries) + 1u] = marked; }
    }
    workgroupBarrier();
    for (var key = t; key < ${keys}u; key += ${invocations}u) {
      next[key] += ${Array.from({ length: words }, (_, i) => `countOneBits(atomicLoad(&bits[${i * keys}u + key]))`).join(' + ')};
    }
    workgroupBarrier();
  }
}`,
  };
}
