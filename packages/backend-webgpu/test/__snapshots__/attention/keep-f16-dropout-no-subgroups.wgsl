

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
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> lists: array<vec2u>;
@group(0) @binding(3) var<storage, read> v: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> out: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> indices: array<u32>;
@group(0) @binding(6) var<storage, read_write> scores: array<u32>;

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

fn half_of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return 0x7e00u; }
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; }
  if (magnitude < 0x38800000u) {
    // A unit in the last place of 0.5 is the step of f16's subnormals.
    return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u);
  }
  return sign | ((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u);
}

fn multiply_high(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let carry = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (carry >> 16u);
}
fn philox(counter: vec4u, seed: vec2u) -> u32 {
  var c = counter;
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    c = vec4u(
      multiply_high(0xcd9e8d57u, c.z) ^ c.y ^ key.x,
      0xcd9e8d57u * c.z,
      multiply_high(0xd2511f53u, c.x) ^ c.w ^ key.y,
      0xd2511f53u * c.x,
    );
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c.x;
}

fn dropout_factor(row: Row, slot: u32) -> f32 {
  let random = philox(vec4u(row.batch, row.head, row.query, slot), geometry.seed);
  return select(geometry.kept_scale, 0.0, random < geometry.dropout_threshold);
}

var<workgroup> team_words: array<u32, 32>;

fn team_sum(t: u32, x: u32) -> u32 {
  workgroupBarrier();
  team_words[t] = x;
  workgroupBarrier();
  var result = 0u;
  for (var other = 0u; other < 32u; other++) { result = result + team_words[other]; }
  return result;
}

fn team_max(t: u32, x: u32) -> u32 {
  workgroupBarrier();
  team_words[t] = x;
  workgroupBarrier();
  var result = 0u;
  for (var other = 0u; other < 32u; other++) { result = max(result, team_words[other]); }
  return result;
}

fn team_before(t: u32, x: u32) -> u32 {
  workgroupBarrier();
  team_words[t] = x;
  workgroupBarrier();
  var result = 0u;
  for (var other = 0u; other < t; other++) { result = result + team_words[other]; }
  return result;
}

const NONE = 0xffffffffu;
const NAN_ROW = 0xffffffffu;
const NAN_BITS = 0x7fc00000u;
const MINUS_INF_BITS = 0xff800000u;
const PLUS_INF_KEY = 0xff800000u;
const K = 16u;

/** Kept keys and bits of their scores as they come, then by key: (value row, bits of the weight). */
var<workgroup> chosen_keys: array<u32, 16>;
var<workgroup> chosen_bits: array<u32, 16>;
var<workgroup> ordered: array<vec2u, 16>;
var<workgroup> columns: array<vec4f, 32>;

fn number_of(key: u32) -> f32 {
  return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u));
}

fn unpack_quad(words: vec2u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
fn store_output(at: u32, value: vec4f) {
  out[at] = vec2u(
    half_of(value.x) | (half_of(value.y) << 16u), half_of(value.z) | (half_of(value.w) << 16u),
  );
}

@compute @workgroup_size(32)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= geometry.heads * geometry.queries) { return; }
  let row = row_at(index);
  let listed = counts[index];
  let is_nan_row = listed == NAN_ROW;
  let n = select(min(listed, 64u), 0u, is_nan_row);
  let is_long = n > 64u;

  // Unused places have the key 0, below that of every number.
  var key_0 = 0u; var index_0 = NONE; var bits_0 = 0u;
  var key_1 = 0u; var index_1 = NONE; var bits_1 = 0u;
  if (0u + t < n) {
    let entry = lists[index * 64u + 0u + t];
    index_0 = entry.x; bits_0 = entry.y; key_0 = key_of(entry.y);
  }
  if (32u + t < n) {
    let entry = lists[index * 64u + 32u + t];
    index_1 = entry.x; bits_1 = entry.y; key_1 = key_of(entry.y);
  }
  var most = 0u;
  var least = NONE;
  most = max(most, key_0); least = min(least, select(NONE, key_0, key_0 != 0u));
  most = max(most, key_1); least = min(least, select(NONE, key_1, key_1 != 0u));
  most = team_max(t, most);
  least = ~team_max(t, ~least);

  // The k-th key, and of those equal to it the index up to which they are kept.
  var threshold = 1u;
  var last = NONE;
  if (n > K) {
    // Above the first bit in which keys differ there is nothing to search.
    let differing = 32u;
    threshold = 0u;
    var reached = 0u;
    for (var left = differing; left > 0u; left--) {
      let candidate = threshold | (1u << (left - 1u));
      var count = u32(key_0 >= candidate) + u32(key_1 >= candidate);
      if (is_long) { count += 0u; }
      count = team_sum(t, count);
      if (count >= K) {
        threshold = candidate;
        reached = count;
      }
      
    }
    {
      var larger = u32(key_0 > threshold) + u32(key_1 > threshold);
      if (is_long) { larger += 0u; }
      larger = team_sum(t, larger);
      last = 0u;
      for (var bit = 0x80000000u; bit != 0u; bit >>= 1u) {
        let candidate = last | bit;
        var count = u32(key_0 == threshold && index_0 < candidate) + u32(key_1 == threshold && index_1 < candidate);
      if (is_long) { count += 0u; }
      count = team_sum(t, count);
        if (count < K - larger) { last = candidate; }
      }
    }
  }
  let kept_0 = key_0 > threshold || (key_0 == threshold && index_0 <= last);
  let kept_1 = key_1 > threshold || (key_1 == threshold && index_1 <= last);
  let mine = u32(kept_0) + u32(kept_1);
  var place = team_before(t, mine);
  let m = team_sum(t, mine);
  for (var slot = t; slot < 16u; slot += 32u) { chosen_keys[slot] = NONE; }
  workgroupBarrier();
  if (kept_0) { chosen_keys[place] = index_0; chosen_bits[place] = bits_0; place++; }
  if (kept_1) { chosen_keys[place] = index_1; chosen_bits[place] = bits_1; place++; }
  workgroupBarrier();

  // Ascending keys: the place of each is the number of smaller ones.
  let slot_of_0 = min(t + 0u, K - 1u);
  let own_0 = chosen_keys[slot_of_0]; let own_bits_0 = chosen_bits[slot_of_0]; var smaller_0 = 0u;
  for (var other = 0u; other < m; other += 8u) {
    {
      let key = chosen_keys[other + 0u];
      smaller_0 += u32(key < own_0);
    }
    {
      let key = chosen_keys[other + 1u];
      smaller_0 += u32(key < own_0);
    }
    {
      let key = chosen_keys[other + 2u];
      smaller_0 += u32(key < own_0);
    }
    {
      let key = chosen_keys[other + 3u];
      smaller_0 += u32(key < own_0);
    }
    {
      let key = chosen_keys[other + 4u];
      smaller_0 += u32(key < own_0);
    }
    {
      let key = chosen_keys[other + 5u];
      smaller_0 += u32(key < own_0);
    }
    {
      let key = chosen_keys[other + 6u];
      smaller_0 += u32(key < own_0);
    }
    {
      let key = chosen_keys[other + 7u];
      smaller_0 += u32(key < own_0);
    }
  }
  let largest = number_of(most);
  let value_start = (row.local_head / geometry.group) * geometry.key_length;
  let place_of_list = (row.local_head * geometry.list_rows_per_head + row.local_query) * K;
  for (var slot = t + m; slot < K; slot += 32u) {
    indices[geometry.indices_base + place_of_list + slot] = NONE;
    scores[geometry.scores_base + place_of_list + slot] = select(MINUS_INF_BITS, NAN_BITS, is_nan_row);
  }
  if (t + 0u < m) {
    ordered[smaller_0] = vec2u(
      (value_start + own_0) * 16u + geometry.v_base / 4u,
      bitcast<u32>(exp(bitcast<f32>(own_bits_0) - largest)),
    );
    indices[geometry.indices_base + place_of_list + smaller_0] = own_0;
    scores[geometry.scores_base + place_of_list + smaller_0] = own_bits_0;
  }
  workgroupBarrier();

  var total = vec4f();
  for (var slot = t; slot < m; slot += 32u) { total.x += bitcast<f32>(ordered[slot].y); }
  workgroupBarrier();
    columns[t] = total;
    workgroupBarrier();
    total += columns[t ^ 16u];
    workgroupBarrier();
    columns[t] = total;
    workgroupBarrier();
    total += columns[t ^ 8u];
    workgroupBarrier();
    columns[t] = total;
    workgroupBarrier();
    total += columns[t ^ 4u];
    workgroupBarrier();
    columns[t] = total;
    workgroupBarrier();
    total += columns[t ^ 2u];
    workgroupBarrier();
    columns[t] = total;
    workgroupBarrier();
    total += columns[t ^ 1u];
  let lane = t % 16u;
  var sum_0 = vec4f();
  for (var slot = t / 16u; slot < m; slot += 16u) {
    let slot_0 = slot + 0u;
    let entry_0 = ordered[min(slot_0, m - 1u)];
    let slot_1 = slot + 2u;
    let entry_1 = ordered[min(slot_1, m - 1u)];
    let slot_2 = slot + 4u;
    let entry_2 = ordered[min(slot_2, m - 1u)];
    let slot_3 = slot + 6u;
    let entry_3 = ordered[min(slot_3, m - 1u)];
    let slot_4 = slot + 8u;
    let entry_4 = ordered[min(slot_4, m - 1u)];
    let slot_5 = slot + 10u;
    let entry_5 = ordered[min(slot_5, m - 1u)];
    let slot_6 = slot + 12u;
    let entry_6 = ordered[min(slot_6, m - 1u)];
    let slot_7 = slot + 14u;
    let entry_7 = ordered[min(slot_7, m - 1u)];
    {
      let value_0 = unpack_quad(v[entry_0.x + lane + 0u]);
      let value_1 = unpack_quad(v[entry_1.x + lane + 0u]);
      let value_2 = unpack_quad(v[entry_2.x + lane + 0u]);
      let value_3 = unpack_quad(v[entry_3.x + lane + 0u]);
      let value_4 = unpack_quad(v[entry_4.x + lane + 0u]);
      let value_5 = unpack_quad(v[entry_5.x + lane + 0u]);
      let value_6 = unpack_quad(v[entry_6.x + lane + 0u]);
      let value_7 = unpack_quad(v[entry_7.x + lane + 0u]);
      if (slot_0 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_0.y) * dropout_factor(row, slot_0)), value_0, sum_0); }
      if (slot_1 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_1.y) * dropout_factor(row, slot_1)), value_1, sum_0); }
      if (slot_2 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_2.y) * dropout_factor(row, slot_2)), value_2, sum_0); }
      if (slot_3 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_3.y) * dropout_factor(row, slot_3)), value_3, sum_0); }
      if (slot_4 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_4.y) * dropout_factor(row, slot_4)), value_4, sum_0); }
      if (slot_5 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_5.y) * dropout_factor(row, slot_5)), value_5, sum_0); }
      if (slot_6 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_6.y) * dropout_factor(row, slot_6)), value_6, sum_0); }
      if (slot_7 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_7.y) * dropout_factor(row, slot_7)), value_7, sum_0); }
    }
  }
  let nan = bitcast<f32>(NAN_BITS | (geometry.own.x & 1u));
  let at = geometry.out_base / 4u + (row.local_head * geometry.query_length + row.local_query) * 16u;
  {
    workgroupBarrier();
    columns[t] = sum_0;
    workgroupBarrier();
    sum_0 += columns[t ^ 16u];
    if (t < 16u && lane + 0u < 16u) {
      var value = sum_0 / total.x;
      if (m == 0u) { value = vec4f(); }
      if (is_nan_row || most >= PLUS_INF_KEY) { value = vec4f(nan); }
      store_output(at + lane + 0u, value);
    }
  }
}