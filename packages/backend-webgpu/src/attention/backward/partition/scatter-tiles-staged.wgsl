var<workgroup> next: array<atomic<u32>, ${tile_capacity}>;
// What to add to a staged place to get that in the tile.
var<workgroup> shift: array<u32, ${tile_capacity}>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, ${staged_words}>;
fn stage(key: i32, number: u32) {
  if (key >= 0) {
    let at = atomicAdd(&next[u32(key) >> ${keys_per_tile_log2}u], 1u);
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
  for (var tile = t; tile < ${tile_capacity}u; tile += INVOCATIONS) { atomicStore(&next[tile], 0u); }
  for (var word = t; word < ${staged_words}u; word += INVOCATIONS) { atomicStore(&staged[word], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < rows * params.slots; entry += INVOCATIONS) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&next[u32(key) >> ${keys_per_tile_log2}u], 1u); }
  }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < ${each}u; i++) {
    let tile = t * ${each}u + i;
    if (tile < ${tile_capacity}u) { own += atomicLoad(&next[tile]); }
  }
  var at = scanned(own, t);
  let total = scan_total();
  for (var i = 0u; i < ${each}u; i++) {
    let tile = t * ${each}u + i;
    if (tile < ${tile_capacity}u) {
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
    let to = shift[key_of >> ${keys_per_tile_log2}u] + place;
    tile_keys[to] = (row << ${keys_per_tile_log2}u) | (key_of & ${key_mask}u);
    tile_weights[to] = weights[first + entry];
  }
}
