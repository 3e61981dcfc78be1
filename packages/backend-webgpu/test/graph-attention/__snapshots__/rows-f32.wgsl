// graph-attention rows {"headDim":64,"valueDim":64,"half":false,"causal":false,"capacity":64,"lengths":true,"mask":false,"bias":false,"saves":true}
struct Params { rows: u32, query_length: u32, query_heads: u32, key_heads: u32, key_length: u32, entries: u32, scale: f32, group: u32, query_start: i32, mask_stride: u32, graph_stride: vec4u, bias_stride: vec4u }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<vec4f>;
@group(0) @binding(2) var<storage, read> key: array<vec4f>;
@group(0) @binding(3) var<storage, read> value: array<vec4f>;
@group(0) @binding(4) var<storage, read> graph: array<i32>;
@group(0) @binding(5) var<storage, read> lengths: array<i32>;
@group(0) @binding(6) var<storage, read_write> indices: array<i32>;
@group(0) @binding(7) var<storage, read_write> scores: array<u32>;
@group(0) @binding(8) var<storage, read_write> result: array<vec4f>;
const INVOCATIONS = 64u;
fn load_query(at: u32) -> vec4f { return query[at]; }
fn load_key(at: u32) -> vec4f { return key[at]; }
fn load_value(at: u32) -> vec4f { return value[at]; }
fn inner(a: vec4f, b: vec4f) -> f32 { return dot(a, b); }

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

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

fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }

const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}
var<workgroup> named: array<i32, 64>;
// Bits of the scores, then the weights.
var<workgroup> scored: array<u32, 64>;
var<workgroup> parts: array<vec4f, INVOCATIONS>;

fn score_of(row: u32, key_row: u32, entry_at: u32) -> f32 {
  let query_at = row * 16u;
  let key_at = key_row * 16u;
  var sum = 0.0;
  for (var c = 0u; c < 16u; c++) { sum += inner(load_query(query_at + c), load_key(key_at + c)); }
  return params.scale * sum;
}

// Whether the entry is the first of its row with that key.
fn is_first(slot: u32) -> bool {
  for (var s = 0u; s < slot; s++) { if (named[s] == named[slot]) { return false; } }
  return true;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let query = row % params.query_length;
  let batch = row / params.query_length / params.query_heads;
  let head = row / params.query_length % params.query_heads;
  let first_key = (batch * params.key_heads + head / params.group) * params.key_length;
  let place = vec4u(batch, head, query, 0u);
  let graph_at = dot(place, params.graph_stride);

  for (var s = t; s < params.entries; s += INVOCATIONS) { named[s] = graph[graph_at + s]; }
  workgroupBarrier();

  var largest = -3.4e38;
  var bad = 0.0;
  for (var s = t; s < params.entries; s += INVOCATIONS) {
    let key = named[s];
    var bits = MINUS_INF_BITS;
    if (key != -1 && is_first(s)) {
      if (key < 0 || u32(key) >= params.key_length) {
        bits = 0x7fc00000u;
      } else {
        var visible = true;
        visible = visible && key < lengths[batch];
        if (visible) {
          let entry_at = dot(vec4u(batch, head, query, s), params.bias_stride);
          bits = bitcast<u32>(score_of(row, first_key + u32(key), entry_at));
        }
      }
    }
    scored[s] = bits;
    if (is_nan_or_plus_inf(bits)) { bad = 1.0; }
    else if (bits != MINUS_INF_BITS) { largest = max(largest, bitcast<f32>(bits)); }
  }
  largest = max_of_group(largest, t);
  let is_bad = max_of_group(bad, t) > 0.0;

  var total = 0.0;
  for (var s = t; s < params.entries; s += INVOCATIONS) {
    let bits = scored[s];
    let counts = bits != MINUS_INF_BITS && named[s] >= 0 && u32(named[s]) < params.key_length;
    indices[row * params.entries + s] = select(-1, named[s], counts);
    scores[row * params.entries + s] = bits;
    var weight = 0.0;
    if (counts && !is_bad) { weight = exp(bitcast<f32>(bits) - largest); }
    total += weight;
    scored[s] = bitcast<u32>(weight);
    // The values of other entries do not matter, whatever they hold.
    if (!counts) { named[s] = -1; }
  }
  total = sum_of_group(total, t);
  let factor = select(1.0 / total, 0.0, total <= 0.0);

  let part = t / 16u;
  for (var first = 0u; first < 16u; first += 16u) {
    let column = first + t % 16u;
    var sum = vec4f();
    if (column < 16u && !is_bad) {
      for (var s = part; s < params.entries; s += 4u) {
        if (named[s] >= 0) {
          sum += bitcast<f32>(scored[s]) * load_value((first_key + u32(named[s])) * 16u + column);
        }
      }
    }
    parts[t] = sum;
    workgroupBarrier();
    if (part == 0u && column < 16u) {
      for (var other = 1u; other < 4u; other++) { sum += parts[other * 16u + t]; }
      result[row * 16u + column] = select(sum * factor, vec4f(nan()), is_bad);
    }
    workgroupBarrier();
  }
}
