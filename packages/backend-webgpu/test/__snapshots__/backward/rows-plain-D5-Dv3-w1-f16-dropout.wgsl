
struct Params {
  rows: u32, rows_per_unit: u32, keys: u32, slots: u32,
  key_base: u32, value_base: u32, gradient_base: u32, index_base: u32,
  score_base: u32, result_base: u32, scale: f32, first_row: u32,
  query_length: u32, query_heads: u32, threshold: u32, kept_factor: f32,
  seed: vec2u,
}
@group(0) @binding(0) var<uniform> params: Params;

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
// 1 / (1 - rate) or 0, keyed by (seed, batch, head, query, slot); 1 without dropout.
fn dropout_factor(row: u32, slot: u32) -> f32 {
  let place = params.first_row + row;
  let head = place / params.query_length;
  let counter = vec4u(head / params.query_heads, head % params.query_heads, place % params.query_length, slot);
  return select(0.0, params.kept_factor, philox(counter, params.seed) >= params.threshold);
}

@group(0) @binding(1) var<storage, read> key: array<u32>;
fn load_key(at: u32) -> f32 { return unpack2x16float(key[at / 2u])[at % 2u]; }

@group(0) @binding(2) var<storage, read> value: array<u32>;
fn load_value(at: u32) -> f32 { return unpack2x16float(value[at / 2u])[at % 2u]; }

@group(0) @binding(3) var<storage, read> gradient: array<u32>;
fn load_gradient(at: u32) -> f32 { return unpack2x16float(gradient[at / 2u])[at % 2u]; }
@group(0) @binding(4) var<storage, read> indices: array<i32>;
@group(0) @binding(5) var<storage, read> scores: array<u32>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
@group(0) @binding(7) var<storage, read_write> weights: array<vec2f>;
var<workgroup> parts: array<f32, 64>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}
fn inner(a: f32, b: f32) -> f32 { return a * b; }

var<workgroup> reduced: array<f32, 64>;

fn sum_of_group(x: f32, t: u32) -> f32 {
  reduced[t] = x; workgroupBarrier();
  if (t < 32u) { reduced[t] = reduced[t] + reduced[t + 32u]; } workgroupBarrier();
  if (t < 16u) { reduced[t] = reduced[t] + reduced[t + 16u]; } workgroupBarrier();
  if (t < 8u) { reduced[t] = reduced[t] + reduced[t + 8u]; } workgroupBarrier();
  if (t < 4u) { reduced[t] = reduced[t] + reduced[t + 4u]; } workgroupBarrier();
  if (t < 2u) { reduced[t] = reduced[t] + reduced[t + 2u]; } workgroupBarrier();
  if (t < 1u) { reduced[t] = reduced[t] + reduced[t + 1u]; } workgroupBarrier();
  let result = reduced[0]; workgroupBarrier();
  return result;
}

fn max_of_group(x: f32, t: u32) -> f32 {
  reduced[t] = x; workgroupBarrier();
  if (t < 32u) { reduced[t] = max(reduced[t], reduced[t + 32u]); } workgroupBarrier();
  if (t < 16u) { reduced[t] = max(reduced[t], reduced[t + 16u]); } workgroupBarrier();
  if (t < 8u) { reduced[t] = max(reduced[t], reduced[t + 8u]); } workgroupBarrier();
  if (t < 4u) { reduced[t] = max(reduced[t], reduced[t + 4u]); } workgroupBarrier();
  if (t < 2u) { reduced[t] = max(reduced[t], reduced[t + 2u]); } workgroupBarrier();
  if (t < 1u) { reduced[t] = max(reduced[t], reduced[t + 1u]); } workgroupBarrier();
  let result = reduced[0]; workgroupBarrier();
  return result;
}

// dO of the row . V of the key
fn product(row: u32, value_row: u32) -> f32 {
  var sum = 0.0;
  for (var c = 0u; c < 3u; c++) {
    sum += inner(load_gradient(params.gradient_base + row * 3u + c),
      load_value(params.value_base + value_row * 3u + c));
  }
  return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let first_key = (row / params.rows_per_unit) * params.keys;
  let first_slot = row * params.slots;

  var largest = -3.4e38;
  var bad = 0.0;
  for (var s = t; s < params.slots; s += 64u) {
    let bits = scores[params.score_base + first_slot + s];
    if (is_nan_or_plus_inf(bits)) { bad = 1.0; }
    else if (indices[params.index_base + first_slot + s] >= 0) { largest = max(largest, bitcast<f32>(bits)); }
  }
  largest = max_of_group(largest, t);
  let is_bad = max_of_group(bad, t) > 0.0;

  var total = 0.0;
  for (var s = t; s < params.slots; s += 64u) {
    if (indices[params.index_base + first_slot + s] >= 0) {
      total += exp(bitcast<f32>(scores[params.score_base + first_slot + s]) - largest);
    }
  }
  total = sum_of_group(total, t);

  var mean = 0.0;
  for (var s = t; s < params.slots; s += 64u) {
    let key = indices[params.index_base + first_slot + s];
    var pair = vec2f(0.0);
    if (key >= 0) {
      let p = exp(bitcast<f32>(scores[params.score_base + first_slot + s]) - largest) / total;
      pair = vec2f(p, dropout_factor(row, s) * product(row, first_key + u32(key)));
      mean += pair.x * pair.y;
    }
    weights[first_slot + s] = pair;
  }
  mean = sum_of_group(mean, t);
  for (var s = t; s < params.slots; s += 64u) {
    let pair = weights[first_slot + s];
    let made = vec2f(pair.x * dropout_factor(row, s), pair.x * (pair.y - mean));
    weights[first_slot + s] = select(made, vec2f(nan()), is_bad);
  }
  storageBarrier();

  let part = t / 8u;
  for (var first = 0u; first < 5u; first += 8u) {
    let column = first + t % 8u;
    var sum = f32();
    if (column < 5u) {
      for (var s = part; s < params.slots; s += 8u) {
        let key = indices[params.index_base + first_slot + s];
        if (key >= 0) {
          sum += weights[first_slot + s].y
            * load_key(params.key_base + (first_key + u32(key)) * 5u + column);
        }
      }
    }
    parts[t] = sum;
    workgroupBarrier();
    if (part == 0u && column < 5u) {
      for (var other = 1u; other < 8u; other++) { sum += parts[other * 8u + t]; }
      result[params.result_base + row * 5u + column]
        = select(sum * params.scale, f32(nan()), is_bad);
    }
    workgroupBarrier();
  }
}