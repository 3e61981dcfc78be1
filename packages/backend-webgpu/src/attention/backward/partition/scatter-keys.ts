import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, read, write } from '../../../wgsl/define-kernel.js';
import { times } from '../../../wgsl/text.js';
import { groupIndex } from '../../shared/reductions.js';
import type { SortGeometry } from '../layout/groups.js';
import { exclusiveScan } from './scan.js';
import { NO_TILE, type TileVariant } from './tiles.js';

const WORDS_OF_BITS = 1024;

/** Workgroup memory of the kernel, in bytes. */
export function scatterKeysBytes(keys: number, entries: number): number {
  return 4 * Math.max(WORDS_OF_BITS, keys) + 8 * keys + 2 * entries + 4 * 256;
}

interface ScatterVariant extends TileVariant {
  /** Of a block, at most. */
  readonly entries: number;
}

/**
 * Puts the entries of a block (at most `entries`) in the order (key, row). One workgroup a block: it orders
 * the numbers of its entries in its own memory, where the place of an entry is that of the block's first of its key and the number of
 * such entries before it, counted in a bit map of (key, entry); then it writes key after key, so that neighbours go
 * side by side. Reads keys three times and
 * weights once, partly from the cache; writes both once. Workgroup memory: `scatterKeysBytes`.
 *
 * Where a piece of the sorted list begins or ends, the key there (counted over units, plus one) is noted, so that pieces
 * of one key alone can be told.
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
      source: () => `
var<workgroup> bits: array<atomic<u32>, ${words * keys}>;
var<workgroup> next: array<atomic<u32>, ${keys}>;
// What to add to a staged place to get that in the sorted list.
var<workgroup> shift: array<u32, ${keys}>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, ${entries / 2}>;
${groupIndex}
${exclusiveScan(invocations)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == ${NO_TILE}u) { return; }
  let unit = block / params.entry_blocks;
  let place = info[unit * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  let base = block * params.block_entries;
  for (var key = t; key < ${keys}u; key += INVOCATIONS) { atomicStore(&next[key], 0u); }
  for (var number = t; number < ${entries / 2}u; number += INVOCATIONS) { atomicStore(&staged[number], 0u); }
  workgroupBarrier();
  for (var i = t; i < entries; i += INVOCATIONS) { atomicAdd(&next[tile_keys[base + i] & ${keys - 1}u], 1u); }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < ${each}u; i++) {
    let key = t * ${each}u + i;
    if (key < ${keys}u) { own += atomicLoad(&next[key]); }
  }
  var first_of = scanned(own, t);
  for (var i = 0u; i < ${each}u; i++) {
    let key = t * ${each}u + i;
    if (key < ${keys}u) {
      let count = atomicLoad(&next[key]);
      atomicStore(&next[key], first_of);
      shift[key] = places[block * ${keys}u + key] - first_of;
      first_of += count;
    }
  }
  let word = t / 32u;
  let bit = 1u << (t % 32u);
  // The keys of the next round are on their way while one is put in order.
  var coming = 0u;
  if (t < entries) { coming = tile_keys[base + t] & ${keys - 1}u; }
  for (var first = 0u; first < entries; first += INVOCATIONS) {
    for (var at = t; at < ${words * keys}u; at += INVOCATIONS) { atomicStore(&bits[at], 0u); }
    let is_entry = first + t < entries;
    let key = coming;
    let after = first + INVOCATIONS + t;
    if (after < entries) { coming = tile_keys[base + after] & ${keys - 1}u; }
    workgroupBarrier();
    if (is_entry) {
      atomicOr(&bits[word * ${keys}u + key], bit);
    }
    workgroupBarrier();
    if (is_entry) {
      var at = atomicLoad(&next[key]) + countOneBits(atomicLoad(&bits[word * ${keys}u + key]) & (bit - 1u));
${times(words, (i) => `      if (word > ${i}u) { at += countOneBits(atomicLoad(&bits[${i * keys}u + key])); }`, '\n')}
      atomicOr(&staged[at / 2u], (first + t) << (16u * (at % 2u)));
    }
    workgroupBarrier();
    for (var counted = t; counted < ${keys}u; counted += INVOCATIONS) {
      atomicStore(&next[counted], atomicLoad(&next[counted])
        + ${times(words, (i) => `countOneBits(atomicLoad(&bits[${i * keys}u + counted]))`, ' + ')});
    }
    workgroupBarrier();
  }
  for (var i = t; i < entries; i += INVOCATIONS) {
    let number = (atomicLoad(&staged[i / 2u]) >> (16u * (i % 2u))) & 0xffffu;
    let entry = tile_keys[base + number];
    let key = entry & ${keys - 1}u;
    let at = shift[key] + i;
    sorted_rows[at] = unit * params.rows_per_unit + (entry >> ${keysPerTileLog2}u);
    sorted_weights[at] = tile_weights[base + number];
    let in_piece = at % params.piece_entries;
    let marked = unit * params.keys + tile * ${keys}u + key + 1u;
    if (in_piece == 0u) { piece_keys[2u * (at / params.piece_entries)] = marked; }
    if (in_piece == params.piece_entries - 1u) { piece_keys[2u * (at / params.piece_entries) + 1u] = marked; }
  }
}`,
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
