

struct Geometry {
  query_length: u32, key_length: u32, query_heads: u32, group: u32,
  first_head: u32, heads: u32, first_query: u32, queries: u32,
  q_base: u32, k_base: u32, v_base: u32, out_base: u32,
  scale: f32, reach: u32, list_rows_per_head: u32, unused_0: u32,
  mask_stride: vec4u,
  bias_stride: vec4u,
  seed: vec2u, dropout_threshold: u32, kept_scale: f32,
  indices_base: u32, scores_base: u32, visible_keys: u32, unused_1: u32,
  own: vec4u,
  more: vec4u,
}
@group(0) @binding(0) var<uniform> geometry: Geometry;

struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / geometry.queries;
  let local_query = row % geometry.queries;
  let head = geometry.first_head + local_head;
  let batch = head / geometry.query_heads;
  return Row(local_head, batch, head % geometry.query_heads, geometry.first_query + local_query, local_query);
}
@group(0) @binding(1) var<storage, read> thresholds: array<u32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> slow: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> counters: array<atomic<u32>>;
const LOWEST_BITS = 0xff7fffffu;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.x + id.y * groups.x * 64u;
  if (index >= geometry.heads * geometry.queries) { return; }
  let count = counts[index];
  let is_long = count > geometry.own.x;
  if (index % 32u == 0u && count < 0x80000000u) {
    atomicAdd(&counters[2], 1u);
    atomicAdd(&counters[3], count);
    atomicMax(&counters[4], count);
  }
  if (!is_long && (count >= geometry.own.y || thresholds[index] == LOWEST_BITS)) { return; }
  let rows = geometry.group * geometry.queries;
  let key_head = index / rows;
  let place = atomicAdd(&slow[key_head], 1u);
  atomicStore(&slow[geometry.heads / geometry.group + key_head * rows + place], index % rows);
  atomicAdd(&counters[0], 1u);
  if (is_long) { atomicAdd(&counters[1], 1u); }
}