
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
var<workgroup> bits: array<atomic<u32>, 1024>;
var<workgroup> next: array<atomic<u32>, 128>;
// What to add to a staged place to get that in the sorted list.
var<workgroup> shift: array<u32, 128>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, 1024>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 256>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 256u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[255]; }
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == 4294967295u) { return; }
  let unit = block / params.entry_blocks;
  let place = info[unit * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  let base = block * params.block_entries;
  for (var key = t; key < 128u; key += 256u) { atomicStore(&next[key], 0u); }
  for (var number = t; number < 1024u; number += 256u) { atomicStore(&staged[number], 0u); }
  workgroupBarrier();
  for (var i = t; i < entries; i += 256u) { atomicAdd(&next[tile_keys[base + i] & 127u], 1u); }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < 1u; i++) {
    let key = t * 1u + i;
    if (key < 128u) { own += atomicLoad(&next[key]); }
  }
  var first_of = scanned(own, t);
  for (var i = 0u; i < 1u; i++) {
    let key = t * 1u + i;
    if (key < 128u) {
      let count = atomicLoad(&next[key]);
      atomicStore(&next[key], first_of);
      shift[key] = places[block * 128u + key] - first_of;
      first_of += count;
    }
  }
  let word = t / 32u;
  let bit = 1u << (t % 32u);
  // The keys of the next round are on their way while one is put in order.
  var coming = 0u;
  if (t < entries) { coming = tile_keys[base + t] & 127u; }
  for (var first = 0u; first < entries; first += 256u) {
    for (var at = t; at < 1024u; at += 256u) { atomicStore(&bits[at], 0u); }
    let is_entry = first + t < entries;
    let key = coming;
    let after = first + 256u + t;
    if (after < entries) { coming = tile_keys[base + after] & 127u; }
    workgroupBarrier();
    if (is_entry) {
      atomicOr(&bits[word * 128u + key], bit);
    }
    workgroupBarrier();
    if (is_entry) {
      var at = atomicLoad(&next[key]) + countOneBits(atomicLoad(&bits[word * 128u + key]) & (bit - 1u));
      if (word > 0u) { at += countOneBits(atomicLoad(&bits[0u + key])); }
      if (word > 1u) { at += countOneBits(atomicLoad(&bits[128u + key])); }
      if (word > 2u) { at += countOneBits(atomicLoad(&bits[256u + key])); }
      if (word > 3u) { at += countOneBits(atomicLoad(&bits[384u + key])); }
      if (word > 4u) { at += countOneBits(atomicLoad(&bits[512u + key])); }
      if (word > 5u) { at += countOneBits(atomicLoad(&bits[640u + key])); }
      if (word > 6u) { at += countOneBits(atomicLoad(&bits[768u + key])); }
      if (word > 7u) { at += countOneBits(atomicLoad(&bits[896u + key])); }
      atomicOr(&staged[at / 2u], (first + t) << (16u * (at % 2u)));
    }
    workgroupBarrier();
    for (var counted = t; counted < 128u; counted += 256u) {
      atomicStore(&next[counted], atomicLoad(&next[counted])
        + countOneBits(atomicLoad(&bits[0u + counted])) + countOneBits(atomicLoad(&bits[128u + counted])) + countOneBits(atomicLoad(&bits[256u + counted])) + countOneBits(atomicLoad(&bits[384u + counted])) + countOneBits(atomicLoad(&bits[512u + counted])) + countOneBits(atomicLoad(&bits[640u + counted])) + countOneBits(atomicLoad(&bits[768u + counted])) + countOneBits(atomicLoad(&bits[896u + counted])));
    }
    workgroupBarrier();
  }
  for (var i = t; i < entries; i += 256u) {
    let number = (atomicLoad(&staged[i / 2u]) >> (16u * (i % 2u))) & 0xffffu;
    let entry = tile_keys[base + number];
    let key = entry & 127u;
    let at = shift[key] + i;
    sorted_rows[at] = unit * params.rows_per_unit + (entry >> 7u);
    sorted_weights[at] = tile_weights[base + number];
    let in_piece = at % params.piece_entries;
    let marked = unit * params.keys + tile * 128u + key + 1u;
    if (in_piece == 0u) { piece_keys[2u * (at / params.piece_entries)] = marked; }
    if (in_piece == params.piece_entries - 1u) { piece_keys[2u * (at / params.piece_entries) + 1u] = marked; }
  }
}