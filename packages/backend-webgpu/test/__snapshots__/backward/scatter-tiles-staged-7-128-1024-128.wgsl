
struct Params {
  rows_per_unit: u32, slots: u32, tiles: u32, row_blocks: u32,
  rows_per_block: u32, blocks: u32, index_base: u32, block_entries: u32,
  entry_blocks: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> weights: array<vec2f>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read> info: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> tile_keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> tile_weights: array<vec2f>;
var<workgroup> next: array<atomic<u32>, 128>;
// What to add to a staged place to get that in the tile.
var<workgroup> shift: array<u32, 128>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, 512>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 128>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 128u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[127]; }
fn stage(key: i32, number: u32) {
  if (key >= 0) {
    let at = atomicAdd(&next[u32(key) >> 7u], 1u);
    atomicOr(&staged[at / 2u], number << (16u * (at % 2u)));
  }
}
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  let first_row = in_unit * params.rows_per_block;
  let rows = min(params.rows_per_unit - first_row, params.rows_per_block);
  let first = (unit * params.rows_per_unit + first_row) * params.slots;
  let base = params.index_base + first;
  for (var tile = t; tile < 128u; tile += 128u) { atomicStore(&next[tile], 0u); }
  for (var word = t; word < 512u; word += 128u) { atomicStore(&staged[word], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < rows * params.slots; entry += 128u) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&next[u32(key) >> 7u], 1u); }
  }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < 1u; i++) {
    let tile = t * 1u + i;
    if (tile < 128u) { own += atomicLoad(&next[tile]); }
  }
  var at = scanned(own, t);
  let total = scan_total();
  for (var i = 0u; i < 1u; i++) {
    let tile = t * 1u + i;
    if (tile < 128u) {
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
    for (var s = t + 128u; s < params.slots; s += 128u) {
      stage(indices[base + row * params.slots + s], row * params.slots + s);
    }
    key = next_key;
    workgroupBarrier();
  }
  for (var place = t; place < total; place += 128u) {
    let entry = (atomicLoad(&staged[place / 2u]) >> (16u * (place % 2u))) & 0xffffu;
    let key_of = u32(indices[base + entry]);
    let row = first_row + entry / params.slots;
    let to = shift[key_of >> 7u] + place;
    tile_keys[to] = (row << 7u) | (key_of & 127u);
    tile_weights[to] = weights[first + entry];
  }
}