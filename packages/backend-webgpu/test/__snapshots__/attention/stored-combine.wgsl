

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
@group(0) @binding(1) var<storage, read> list_indices: array<u32>;
@group(0) @binding(2) var<storage, read> list_scores: array<u32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}



const NONE = 0xffffffffu;
const PLUS_INF_KEY = 0xff800000u;

var<workgroup> parts: array<vec2u, 64>;
var<workgroup> weights: array<f32, 64>;
var<workgroup> value_rows: array<u32, 64>;

fn load_value(value_row: u32, pair: u32) -> vec2f {
  let at = geometry.v_base + value_row * 7u + 2u * pair;
  return vec2f(v[at], select(v[min(at + 1u, arrayLength(&v) - 1u)], 0.0, 2u * pair + 1u >= 7u));
}

fn store_output(out_row: u32, pair: u32, value: vec2f) {
  let at = geometry.out_base + out_row * 7u + 2u * pair;
  out[at] = value.x;
  if (2u * pair + 1u < 7u) { out[at + 1u] = value.y; }
}

fn number_of(key: u32) -> f32 {
  return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= geometry.heads * geometry.queries) { return; }
  let row = row_at(index);
  let k = geometry.own.x;
  let list = (row.local_head * geometry.list_rows_per_head + row.local_query) * k;
  let indices = geometry.indices_base + list;
  let scores = geometry.scores_base + list;
  let value_start = (row.local_head / geometry.group) * geometry.key_length;
  let out_row = row.local_head * geometry.query_length + row.local_query;

  // The largest score, as an ordered key, and how many there are.
  var most = 0u;
  var count = 0u;
  for (var slot = t; slot < k; slot += 64u) {
    let bits = list_scores[scores + slot];
    if (list_indices[indices + slot] != NONE) {
      count++;
      most = max(most, key_of(bits));
    } else if ((bits & 0x7fffffffu) > 0x7f800000u) {
      most = NONE;
    }
  }
  parts[t] = vec2u(most, count);
  workgroupBarrier();
  for (var reach = 32u; reach > 0u; reach /= 2u) {
    if (t < reach) {
      let other = parts[t + reach];
      parts[t] = vec2u(max(parts[t].x, other.x), parts[t].y + other.y);
    }
    workgroupBarrier();
  }
  let whole = workgroupUniformLoad(&parts[0]);
  let largest = number_of(whole.x);
  let is_nan = whole.x >= PLUS_INF_KEY;

  var total = 0.0;
  var sum_0 = vec2f();
  for (var first = 0u; first < whole.y; first += 64u) {
    let slot = first + t;
    if (slot < whole.y) {
      let weight = exp(bitcast<f32>(list_scores[scores + slot]) - largest);
      total += weight;
      weights[t] = weight;
      value_rows[t] = value_start + list_indices[indices + slot];
    }
    workgroupBarrier();
    let end = min(64u, whole.y - first);
    for (var s = 0u; s < end; s++) {
      let weight = weights[s];
      let value_row = value_rows[s];
      if (t + 0u < 4u) { sum_0 += weight * load_value(value_row, t + 0u); }
    }
    workgroupBarrier();
  }
  parts[t] = vec2u(bitcast<u32>(total), 0u);
  workgroupBarrier();
  for (var reach = 32u; reach > 0u; reach /= 2u) {
    if (t < reach) { parts[t].x = bitcast<u32>(bitcast<f32>(parts[t].x) + bitcast<f32>(parts[t + reach].x)); }
    workgroupBarrier();
  }
  let sum = bitcast<f32>(workgroupUniformLoad(&parts[0]).x);
  // From bits that no compiler knows: it may take a constant NaN for a mistake.
  let nan = bitcast<f32>(0x7fc00000u | (k & 1u));
  if (t + 0u < 4u) {
    var value = select(sum_0 / sum, vec2f(), whole.y == 0u);
    if (is_nan) { value = vec2f(nan); }
    store_output(out_row, t + 0u, value);
  }
}