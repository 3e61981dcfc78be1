
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
var<workgroup> next: array<atomic<u32>, 1024>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  for (var tile = t; tile < params.tiles; tile += 128u) {
    let place = unit * params.tiles + tile;
    atomicStore(&next[tile], (unit * params.entry_blocks + info[place].x) * params.block_entries
      + counts[place * params.row_blocks + in_unit]);
  }
  workgroupBarrier();
  let end = min(params.rows_per_unit, (in_unit + 1u) * params.rows_per_block);
  for (var row = in_unit * params.rows_per_block; row < end; row++) {
    let first = (unit * params.rows_per_unit + row) * params.slots;
    for (var s = t; s < params.slots; s += 128u) {
      let key = indices[params.index_base + first + s];
      if (key >= 0) {
        let at = atomicAdd(&next[u32(key) >> 7u], 1u);
        tile_keys[at] = (row << 7u) | (u32(key) & 127u);
        tile_weights[at] = weights[first + s];
      }
    }
    workgroupBarrier();
  }
}