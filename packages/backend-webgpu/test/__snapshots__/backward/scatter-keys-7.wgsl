
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
var<workgroup> next: array<u32, 128>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
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
  for (var key = t; key < 128u; key += 256u) { next[key] = places[block * 128u + key]; }
  let word = t / 32u;
  let bit = 1u << (t % 32u);
  for (var first = 0u; first < entries; first += 256u) {
    for (var at = t; at < 1024u; at += 256u) { atomicStore(&bits[at], 0u); }
    workgroupBarrier();
    let source = block * params.block_entries + first + t;
    let is_entry = first + t < entries;
    var entry = 0u;
    if (is_entry) {
      entry = tile_keys[source];
      atomicOr(&bits[word * 128u + (entry & 127u)], bit);
    }
    workgroupBarrier();
    if (is_entry) {
      let key = entry & 127u;
      var at = next[key] + countOneBits(atomicLoad(&bits[word * 128u + key]) & (bit - 1u));
      if (word > 0u) { at += countOneBits(atomicLoad(&bits[0u + key])); }
      if (word > 1u) { at += countOneBits(atomicLoad(&bits[128u + key])); }
      if (word > 2u) { at += countOneBits(atomicLoad(&bits[256u + key])); }
      if (word > 3u) { at += countOneBits(atomicLoad(&bits[384u + key])); }
      if (word > 4u) { at += countOneBits(atomicLoad(&bits[512u + key])); }
      if (word > 5u) { at += countOneBits(atomicLoad(&bits[640u + key])); }
      if (word > 6u) { at += countOneBits(atomicLoad(&bits[768u + key])); }
      if (word > 7u) { at += countOneBits(atomicLoad(&bits[896u + key])); }

      sorted_rows[at] = unit * params.rows_per_unit + (entry >> 7u);
      sorted_weights[at] = tile_weights[source];
      let in_piece = at % params.piece_entries;
      let marked = unit * params.keys + tile * 128u + key + 1u;
      if (in_piece == 0u) { piece_keys[2u * (at / params.piece_entries)] = marked; }
      if (in_piece == params.piece_entries - 1u) { piece_keys[2u * (at / params.piece_entries) + 1u] = marked; }
    }
    workgroupBarrier();
    for (var key = t; key < 128u; key += 256u) {
      next[key] += countOneBits(atomicLoad(&bits[0u + key])) + countOneBits(atomicLoad(&bits[128u + key])) + countOneBits(atomicLoad(&bits[256u + key])) + countOneBits(atomicLoad(&bits[384u + key])) + countOneBits(atomicLoad(&bits[512u + key])) + countOneBits(atomicLoad(&bits[640u + key])) + countOneBits(atomicLoad(&bits[768u + key])) + countOneBits(atomicLoad(&bits[896u + key]));
    }
    workgroupBarrier();
  }
}