enable subgroups;
diagnostic(off, subgroup_uniformity);

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
@group(0) @binding(1) var<storage, read> q: array<u32>;
@group(0) @binding(2) var<storage, read> maxima: array<u32>;
@group(0) @binding(3) var<storage, read> unsafe_key: array<u32>;
@group(0) @binding(4) var<storage, read_write> thresholds: array<u32>;
@group(0) @binding(5) var<storage, read_write> counts: array<u32>;

fn visible_of(row: Row) -> u32 {
  var visible = geometry.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u + geometry.key_length) - i32(geometry.query_length))));
  
  return visible;
}

fn tile_sees(key_head: u32, first_row: u32, rows: u32) -> vec2u {
  let last_row = min(first_row + 127u, rows - 1u);
  let start = key_head * rows;
  if (first_row / geometry.queries == last_row / geometry.queries) {
    return vec2u(visible_of(row_at(start + first_row)), visible_of(row_at(start + last_row)));
  }
  // Rows of more than one head: from the first query of the part to the last.
  return vec2u(visible_of(row_at(start)), visible_of(row_at(start + geometry.queries - 1u)));
}

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

fn team_sum(t: u32, x: u32) -> u32 { return subgroupAdd(x); }
fn team_max(t: u32, x: u32) -> u32 { return subgroupMax(x); }
fn team_before(t: u32, x: u32) -> u32 { return subgroupExclusiveAdd(x); }

const LOWEST_BITS = 0xff7fffffu;
/** `key_of(LOWEST_BITS)`. */
const LOWEST_KEY = 0x00800000u;

/** Groups of the row's tile that the first sweep wrote. */
fn written_groups(index: u32) -> u32 {
  let rows = geometry.group * geometry.queries;
  let first_row = (index % rows) / 128u * 128u;
  let shift = geometry.own.x;
  let count = (tile_sees(index / rows, first_row, rows).y + (1u << shift) - 1u) >> shift;
  let tiles = (count + 127u) / 128u;
  return select(min(32u * tiles, 512u), 128u * tiles, count <= 512u);
}

fn is_unsafe(row: Row, t: u32, visible: u32) -> bool {
  let key_head = (geometry.first_head + row.local_head) / geometry.group;
  if (unsafe_key[key_head] < visible) { return true; }
  var found = 0u;
  let start = geometry.q_base + (row.local_head * geometry.query_length + row.local_query) * 64u;
  for (var d = t; d < 64u; d += 32u) {
    let at = start + d;
    if ((q[at] & 0x7fffffffu) > geometry.own.w) { found = 1u; }
  }
  return team_max(t, found) != 0u;
}

@compute @workgroup_size(32)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= geometry.heads * geometry.queries) { return; }
  let row = row_at(index);
  let visible = visible_of(row);
  let rank = geometry.own.y;
  var bits = LOWEST_BITS;
  let found_unsafe = is_unsafe(row, t, visible);
  if (visible > geometry.own.z) {
    let written = written_groups(index);
    var key_0 = key_of(maxima[index * 512u + 0u + t]);
    if (key_0 <= LOWEST_KEY || 0u + t >= written) { key_0 = 0u; }
    var key_1 = key_of(maxima[index * 512u + 32u + t]);
    if (key_1 <= LOWEST_KEY || 32u + t >= written) { key_1 = 0u; }
    var key_2 = key_of(maxima[index * 512u + 64u + t]);
    if (key_2 <= LOWEST_KEY || 64u + t >= written) { key_2 = 0u; }
    var key_3 = key_of(maxima[index * 512u + 96u + t]);
    if (key_3 <= LOWEST_KEY || 96u + t >= written) { key_3 = 0u; }
    var key_4 = key_of(maxima[index * 512u + 128u + t]);
    if (key_4 <= LOWEST_KEY || 128u + t >= written) { key_4 = 0u; }
    var key_5 = key_of(maxima[index * 512u + 160u + t]);
    if (key_5 <= LOWEST_KEY || 160u + t >= written) { key_5 = 0u; }
    var key_6 = key_of(maxima[index * 512u + 192u + t]);
    if (key_6 <= LOWEST_KEY || 192u + t >= written) { key_6 = 0u; }
    var key_7 = key_of(maxima[index * 512u + 224u + t]);
    if (key_7 <= LOWEST_KEY || 224u + t >= written) { key_7 = 0u; }
    var key_8 = key_of(maxima[index * 512u + 256u + t]);
    if (key_8 <= LOWEST_KEY || 256u + t >= written) { key_8 = 0u; }
    var key_9 = key_of(maxima[index * 512u + 288u + t]);
    if (key_9 <= LOWEST_KEY || 288u + t >= written) { key_9 = 0u; }
    var key_10 = key_of(maxima[index * 512u + 320u + t]);
    if (key_10 <= LOWEST_KEY || 320u + t >= written) { key_10 = 0u; }
    var key_11 = key_of(maxima[index * 512u + 352u + t]);
    if (key_11 <= LOWEST_KEY || 352u + t >= written) { key_11 = 0u; }
    var key_12 = key_of(maxima[index * 512u + 384u + t]);
    if (key_12 <= LOWEST_KEY || 384u + t >= written) { key_12 = 0u; }
    var key_13 = key_of(maxima[index * 512u + 416u + t]);
    if (key_13 <= LOWEST_KEY || 416u + t >= written) { key_13 = 0u; }
    var key_14 = key_of(maxima[index * 512u + 448u + t]);
    if (key_14 <= LOWEST_KEY || 448u + t >= written) { key_14 = 0u; }
    var key_15 = key_of(maxima[index * 512u + 480u + t]);
    if (key_15 <= LOWEST_KEY || 480u + t >= written) { key_15 = 0u; }
    var prefix = 0u;
    for (var bit = 0x80000000u; bit > 0x20u; bit >>= 1u) {
      let candidate = prefix | bit;
      let reached = team_sum(t, u32(key_0 >= candidate) + u32(key_1 >= candidate) + u32(key_2 >= candidate) + u32(key_3 >= candidate) + u32(key_4 >= candidate) + u32(key_5 >= candidate) + u32(key_6 >= candidate) + u32(key_7 >= candidate) + u32(key_8 >= candidate) + u32(key_9 >= candidate) + u32(key_10 >= candidate) + u32(key_11 >= candidate) + u32(key_12 >= candidate) + u32(key_13 >= candidate) + u32(key_14 >= candidate) + u32(key_15 >= candidate));
      if (reached >= rank) { prefix = candidate; }
      if (reached == rank) { break; }
    }
    if (prefix > LOWEST_KEY) {
      let key = prefix - 1u;
      bits = key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
    }
  }
  if (t == 0u) {
    thresholds[index] = bits;
    counts[index] = select(0u, 2147483648u, found_unsafe);
  }
}