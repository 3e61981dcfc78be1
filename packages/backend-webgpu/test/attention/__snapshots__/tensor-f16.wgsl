// tensor centre keys {"headDim":64,"half":true}
struct Params { key_length: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> k: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> centres: array<vec4f>;
const INVOCATIONS = 256u;

var<workgroup> means: array<vec4f, 256>;
fn load_k(i: u32) -> vec4f { let w = k[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }

const INF_BITS = 0x7f800000u;
/** The largest magnitude of four elements as bits; infinities and NaN are larger than any finite number. */
fn largest_of(x: vec4f) -> u32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
/** 2^(KEY_EXPONENT - e) for the e of a largest magnitude, where that is a normal number. */
fn factor_of(largest: u32) -> f32 {
  let exponent = clamp(254 + 7 - i32(largest >> 23u), 1, 254);
  return select(bitcast<f32>(u32(exponent) << 23u), 1.0, largest == 0u);
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let team = t / 16u;
  let four = t % 16u;
  let sample = min(params.key_length, 512u);
  let head_at = params.k_base / 4u + group.x * params.key_length * 16u;
  if (team < 16u) {
    var sum = vec4f();
    var count = 0.0;
    for (var i = team; i < sample; i += 16u) {
      let x = load_k(head_at + (i * (params.key_length / sample)) * 16u + four);
      if (largest_of(x) < INF_BITS) {
        sum += x;
        count += 1.0;
      }
    }
    means[t] = sum / max(count, 1.0);
  }
  workgroupBarrier();
  if (team == 0u) {
    var centre = vec4f();
    for (var a = 0u; a < 16u; a++) {
      let mean = means[a * 16u + four];
      var below = vec4u();
      for (var b = 0u; b < 16u; b++) {
        let other = means[b * 16u + four];
        below += select(vec4u(), vec4u(1u), (other < mean) | ((other == mean) & vec4<bool>(b < a)));
      }
      centre = select(centre, mean, below == vec4u(7u));
    }
    centres[group.x * 16u + four] = select(centre, vec4f(), largest_of(centre) >= INF_BITS);
  }
}

// tensor largest keys {"headDim":64,"half":true}
struct Params { key_length: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> k: array<vec2u>;
@group(0) @binding(2) var<storage, read> centres: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> largest: array<atomic<u32>>;
const INVOCATIONS = 256u;

var<workgroup> of_group: atomic<u32>;
var<workgroup> not_finite: atomic<u32>;
fn load_k(i: u32) -> vec4f { let w = k[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }

const INF_BITS = 0x7f800000u;
/** The largest magnitude of four elements as bits; infinities and NaN are larger than any finite number. */
fn largest_of(x: vec4f) -> u32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
/** 2^(KEY_EXPONENT - e) for the e of a largest magnitude, where that is a normal number. */
fn factor_of(largest: u32) -> f32 {
  let exponent = clamp(254 + 7 - i32(largest >> 23u), 1, 254);
  return select(bitcast<f32>(u32(exponent) << 23u), 1.0, largest == 0u);
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  if (t == 0u) {
    atomicStore(&of_group, 0u);
    atomicStore(&not_finite, 0u);
  }
  workgroupBarrier();
  let first = group.x * 4096u;
  let last = min(first + 4096u, params.key_length * 16u);
  let head_at = params.k_base / 4u + group.y * params.key_length * 16u;
  var most = 0u;
  for (var i = first + t; i < last; i += INVOCATIONS) {
    let here = largest_of(load_k(head_at + i) - centres[group.y * 16u + i % 16u]);
    if (here >= INF_BITS) { atomicStore(&not_finite, 1u); } else { most = max(most, here); }
  }
  atomicMax(&of_group, most);
  workgroupBarrier();
  if (t == 0u) {
    atomicMax(&largest[2u * group.y], atomicLoad(&of_group));
    atomicMax(&largest[2u * group.y + 1u], atomicLoad(&not_finite));
  }
}

// tensor pack keys {"headDim":64,"half":true}
struct Params { key_length: u32, tiles: u32, count: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> k: array<vec2u>;
@group(0) @binding(2) var<storage, read> centres: array<vec4f>;
@group(0) @binding(3) var<storage, read> largest: array<u32>;
@group(0) @binding(4) var<storage, read_write> packed: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> bounds: array<f32>;
const INVOCATIONS = 256u;

var<workgroup> squares: array<f32, 256>;
var<workgroup> magnitudes: array<u32, 256>;
var<workgroup> norms: array<f32, 16>;
fn load_k(i: u32) -> vec4f { let w = k[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }

const INF_BITS = 0x7f800000u;
/** The largest magnitude of four elements as bits; infinities and NaN are larger than any finite number. */
fn largest_of(x: vec4f) -> u32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
/** 2^(KEY_EXPONENT - e) for the e of a largest magnitude, where that is a normal number. */
fn factor_of(largest: u32) -> f32 {
  let exponent = clamp(254 + 7 - i32(largest >> 23u), 1, 254);
  return select(bitcast<f32>(u32(exponent) << 23u), 1.0, largest == 0u);
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
fn halves_of(low: f32, high: f32) -> u32 { return half_of(low) | (half_of(high) << 16u); }
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  let job = group.x + group.y * groups.x;
  if (job >= params.count) { return; }
  let head = job / params.tiles;
  let tile = job % params.tiles;
  let factor = factor_of(largest[2u * head]);
  for (var i = t; i < 256u; i += INVOCATIONS) {
    let key = 16u * tile + i / 16u;
    let four = i % 16u;
    var x = vec4f();
    if (key < params.key_length) {
      x = load_k(params.k_base / 4u + (head * params.key_length + key) * 16u + four) - centres[head * 16u + four];
    }
    let within = i / 16u;
    let column = select(2u * within - 16u, 2u * within + 1u, within < 8u); // the inverse of keyOfColumn
    let magnitude = largest_of(x);
    magnitudes[i] = magnitude;
    x = select(x * factor, vec4f(), magnitude >= INF_BITS);
    squares[i] = dot(x, x);
    let at = (head * params.tiles + tile) * 256u + (four / 4u) * 64u + column * 4u + four % 4u;
    packed[at] = vec2u(halves_of(x.x, x.y), halves_of(x.z, x.w));
  }
  workgroupBarrier();
  if (t < 16u) {
    var sum = 0.0;
    var most = 0u;
    for (var four = 0u; four < 16u; four++) {
      sum += squares[t * 16u + four];
      most = max(most, magnitudes[t * 16u + four]);
    }
    norms[t] = select(sqrt(sum) * 0.017578125 + 0.0078125, 1e+30, most >= INF_BITS);
  }
  workgroupBarrier();
  if (t == 0u) {
    var bound = 0.0;
    for (var key = 0u; key < 16u; key++) { bound = max(bound, norms[key]); }
    bounds[head * params.tiles + tile] = bound;
  }
}

// tensor prepare queries {"headDim":64,"half":true}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, q_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2u>;
@group(0) @binding(2) var<storage, read> centres: array<vec4f>;
@group(0) @binding(3) var<storage, read> largest: array<u32>;
@group(0) @binding(4) var<storage, read_write> prepared: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> units: array<vec4f>;
const INVOCATIONS = 256u;


struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn key_head_of(local_head: u32) -> u32 {
  return (params.first_head + local_head) / params.group - params.first_head / params.group;
}
fn load_q(i: u32) -> vec4f { let w = q[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }

const INF_BITS = 0x7f800000u;
/** The largest magnitude of four elements as bits; infinities and NaN are larger than any finite number. */
fn largest_of(x: vec4f) -> u32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
/** 2^(KEY_EXPONENT - e) for the e of a largest magnitude, where that is a normal number. */
fn factor_of(largest: u32) -> f32 {
  let exponent = clamp(254 + 7 - i32(largest >> 23u), 1, 254);
  return select(bitcast<f32>(u32(exponent) << 23u), 1.0, largest == 0u);
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
fn halves_of(low: f32, high: f32) -> u32 { return half_of(low) | (half_of(high) << 16u); }
var<workgroup> sums: array<vec4f, INVOCATIONS>;
var<workgroup> magnitudes: array<u32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  // Eight invocations a row.
  let r = 32u * (group.x + group.y * groups.x) + t / 8u;
  let eighth = t % 8u;
  let rows = params.heads * params.queries;
  let row = row_at(r);
  let exists = r < rows && row.query < params.query_length;
  let at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * 16u;
  var most = 0u;
  for (var four = eighth; four < 16u; four += 8u) {
    if (exists) { most = max(most, largest_of(load_q(at + four))); }
  }
  magnitudes[t] = most;
  workgroupBarrier();
  most = 0u;
  for (var i = 0u; i < 8u; i++) { most = max(most, magnitudes[(t & ~7u) + i]); }
  let is_finite = most < INF_BITS;
  let exponent = clamp(254 - i32(most >> 23u), 1, 254);
  let near_one = bitcast<f32>(u32(exponent) << 23u);
  let key_head = key_head_of(min(row.local_head, params.heads - 1u));
  // Of the row: its square, its product with the centre; of the centre: its square.
  var sum = vec4f();
  for (var four = eighth; four < 16u; four += 8u) {
    if (exists && is_finite) {
      let x = load_q(at + four) * near_one;
      let centre = centres[key_head * 16u + four];
      sum += vec4f(dot(x, x), dot(x, centre), dot(centre, centre), 0.0);
    }
  }
  sums[t] = sum;
  workgroupBarrier();
  sum = vec4f();
  for (var i = 0u; i < 8u; i++) { sum += sums[(t & ~7u) + i]; }
  let norm = sqrt(sum.x);
  let usable = exists && is_finite && norm > 0.0;
  let turn = select(0.0, select(16.0, -16.0, params.scale < 0.0) / norm, usable);
  if (r < rows) {
    for (var four = eighth; four < 16u; four += 8u) {
      var x = vec4f();
      if (usable) { x = (load_q(at + four) * near_one) * turn; }
      prepared[r * 16u + four] = vec2u(halves_of(x.x, x.y), halves_of(x.z, x.w));
    }
    if (eighth == 0u) {
      let factor = factor_of(largest[2u * key_head]);
      let length = norm / near_one;
      let unit = (length * abs(params.scale)) / (factor * 16.0);
      let shift = (sum.y / near_one) * params.scale;
      let doubt = length * sqrt(sum.z) * abs(params.scale) * 0.000003814697265625;
      let is_usual = is_finite && unit > 1e-30 && unit < 1e30 && abs(shift) < 1e30 && doubt < 1e30;
      // A query of zeros scores 0 with every finite key.
      var kind = select(1.0, 0.0, is_usual);
      if (exists && most == 0u && largest[2u * key_head + 1u] == 0u) { kind = 2.0; }
      units[r] = vec4f(unit, shift, doubt, kind);
    }
  }
}

// tensor filter {"headDim":64,"causal":true,"keyLengths":false,"capacity":192,"subgroups":4,"emulated":false}
enable f16;
enable chromium_experimental_subgroup_matrix;
enable subgroups;
diagnostic(off, subgroup_uniformity);
diagnostic(off, chromium.subgroup_matrix_uniformity);
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, tiles: u32, k: u32, rank: u32, stride: u32, sampled_from: u32, buckets_at: u32, table_at: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<f16>;
@group(0) @binding(2) var<storage, read> units: array<vec4f>;
@group(0) @binding(3) var<storage, read> keys: array<f16>;
@group(0) @binding(4) var<storage, read> bounds: array<f32>;
@group(0) @binding(5) var<storage, read_write> lists: array<u32>;
@group(0) @binding(6) var<storage, read_write> heads: array<vec2u>;
@group(0) @binding(7) var<storage, read> counters: array<u32>;
const INVOCATIONS = 128u;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;

struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn key_head_of(local_head: u32) -> u32 {
  return (params.first_head + local_head) / params.group - params.first_head / params.group;
}
var<workgroup> scores: array<f32, 2304>;



fn visible_of(row: Row) -> u32 {
  var visible = params.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u) + params.query_start)));
  
  return visible;
}
fn visible_keys(query: u32, batch: u32) -> u32 { return visible_of(Row(0u, batch, 0u, query, 0u)); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  // Not the built-in value: of this one the compiler knows the range, and leaves out checks of bounds.
  let lane = t & 31u;
  let query_tiles = params.queries / 128u;
  let job = group.x + group.y * groups.x;
  if (job >= params.heads * query_tiles) { return; }
  let head = job % params.heads;
  let query_tile = query_tiles - 1u - job / params.heads;
  let flat = params.first_head + head;
  let batch = flat / params.query_heads;
  let key_head = key_head_of(head);
  let subgroup = t / 32u;
  let store_at = subgroup * 576u;
  let read_at = store_at + lane;
  let first_query = params.first_query + query_tile * 128u;
  let first_row = head * params.queries + query_tile * 128u + subgroup * 32u;
  let row = first_row + lane;
  let last_query = min(first_query + 127u, params.query_length - 1u);
  let visible = visible_keys(min(first_query + subgroup * 32u + lane, last_query), batch);
  let fewest = visible_keys(first_query, batch);
  let most = visible_keys(last_query, batch);
  let unit = units[row];
  
  let list_at = row * 192u;
  let groups_at = first_row * 192u + lane;
  let k = params.k;
  let bounds_at = key_head * params.tiles;
  let keys_at = bounds_at * 1024u;
  let a0_0 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 0u, 64u);
  let a1_0 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 1024u, 64u);
  let a0_1 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 16u, 64u);
  let a1_1 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 1040u, 64u);
  let a0_2 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 32u, 64u);
  let a1_2 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 1056u, 64u);
  let a0_3 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 48u, 64u);
  let a1_3 = subgroupMatrixLoad<Left, row_major>(&queries, first_row * 64u + 1072u, 64u);
  let steps = (most + 31u) / 32u;
  var bar = -1e+30;
  if (most > 192u) {
    let sampled = most >= params.sampled_from && counters[7] == 0u;
    let stride = select(1u, params.stride, sampled);
    let sweep_steps = select(steps, most / (32u * params.stride), sampled);
    let rank = f32(select(k, params.rank, sampled));
    var low = 1e30;
    var high = -1e30;
    var bound_sum = 0.0;
    for (var phase = 0u; phase < 23u; phase++) {
      var g0 = -60000.0;
            var g1 = -60000.0;
            var g2 = -60000.0;
            var g3 = -60000.0;
            var g4 = -60000.0;
            var g5 = -60000.0;
            var g6 = -60000.0;
            var g7 = -60000.0;
            var g8 = -60000.0;
            var g9 = -60000.0;
            var g10 = -60000.0;
            var g11 = -60000.0;
            var g12 = -60000.0;
            var g13 = -60000.0;
            var g14 = -60000.0;
            var g15 = -60000.0;
      for (var step = phase; step < sweep_steps; step += 23u) {
        let tile0 = step * stride;
        let tile1 = (step + sweep_steps) * stride;
        let bound0 = bounds[bounds_at + tile0];
        let bound1 = bounds[bounds_at + tile1];
        bound_sum += select(bound0, 0.0, bound0 >= 1e+30) + select(bound1, 0.0, bound1 >= 1e+30);
        {
          let tile_at = keys_at + tile0 * 1024u;
          let b0 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 0u, 16u);
          let b1 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 256u, 16u);
          let b2 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 512u, 16u);
          let b3 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 768u, 16u);
          var s0 = subgroupMatrixMultiply<f32>(a0_0, b0);
          var s1 = subgroupMatrixMultiply<f32>(a1_0, b0);
          s0 = subgroupMatrixMultiplyAccumulate(a0_1, b1, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_1, b1, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_2, b2, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_2, b2, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_3, b3, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_3, b3, s1);
          subgroupMatrixStore<col_major>(&scores, store_at + 0u, s0, 36u);
          subgroupMatrixStore<col_major>(&scores, store_at + 16u, s1, 36u);
        }
        workgroupBarrier();
        {
            var x0 = scores[read_at + 0u];
            var x1 = scores[read_at + 36u];
            var x2 = scores[read_at + 72u];
            var x3 = scores[read_at + 108u];
            var x4 = scores[read_at + 144u];
            var x5 = scores[read_at + 180u];
            var x6 = scores[read_at + 216u];
            var x7 = scores[read_at + 252u];
            var x8 = scores[read_at + 288u];
            var x9 = scores[read_at + 324u];
            var x10 = scores[read_at + 360u];
            var x11 = scores[read_at + 396u];
            var x12 = scores[read_at + 432u];
            var x13 = scores[read_at + 468u];
            var x14 = scores[read_at + 504u];
            var x15 = scores[read_at + 540u];
            
            if (16u * tile0 + 16u > fewest) {
              if (16u * tile0 + 8u >= visible) { x0 = -60000.0; }
            if (16u * tile0 + 0u >= visible) { x1 = -60000.0; }
            if (16u * tile0 + 9u >= visible) { x2 = -60000.0; }
            if (16u * tile0 + 1u >= visible) { x3 = -60000.0; }
            if (16u * tile0 + 10u >= visible) { x4 = -60000.0; }
            if (16u * tile0 + 2u >= visible) { x5 = -60000.0; }
            if (16u * tile0 + 11u >= visible) { x6 = -60000.0; }
            if (16u * tile0 + 3u >= visible) { x7 = -60000.0; }
            if (16u * tile0 + 12u >= visible) { x8 = -60000.0; }
            if (16u * tile0 + 4u >= visible) { x9 = -60000.0; }
            if (16u * tile0 + 13u >= visible) { x10 = -60000.0; }
            if (16u * tile0 + 5u >= visible) { x11 = -60000.0; }
            if (16u * tile0 + 14u >= visible) { x12 = -60000.0; }
            if (16u * tile0 + 6u >= visible) { x13 = -60000.0; }
            if (16u * tile0 + 15u >= visible) { x14 = -60000.0; }
            if (16u * tile0 + 7u >= visible) { x15 = -60000.0; }
            }
            g0 = max(g0, x0);
            g1 = max(g1, x1);
            g2 = max(g2, x2);
            g3 = max(g3, x3);
            g4 = max(g4, x4);
            g5 = max(g5, x5);
            g6 = max(g6, x6);
            g7 = max(g7, x7);
            g8 = max(g8, x8);
            g9 = max(g9, x9);
            g10 = max(g10, x10);
            g11 = max(g11, x11);
            g12 = max(g12, x12);
            g13 = max(g13, x13);
            g14 = max(g14, x14);
            g15 = max(g15, x15);
          }
        workgroupBarrier();
        {
          let tile_at = keys_at + tile1 * 1024u;
          let b0 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 0u, 16u);
          let b1 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 256u, 16u);
          let b2 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 512u, 16u);
          let b3 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 768u, 16u);
          var s0 = subgroupMatrixMultiply<f32>(a0_0, b0);
          var s1 = subgroupMatrixMultiply<f32>(a1_0, b0);
          s0 = subgroupMatrixMultiplyAccumulate(a0_1, b1, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_1, b1, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_2, b2, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_2, b2, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_3, b3, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_3, b3, s1);
          subgroupMatrixStore<col_major>(&scores, store_at + 0u, s0, 36u);
          subgroupMatrixStore<col_major>(&scores, store_at + 16u, s1, 36u);
        }
        workgroupBarrier();
        {
            var x0 = scores[read_at + 0u];
            var x1 = scores[read_at + 36u];
            var x2 = scores[read_at + 72u];
            var x3 = scores[read_at + 108u];
            var x4 = scores[read_at + 144u];
            var x5 = scores[read_at + 180u];
            var x6 = scores[read_at + 216u];
            var x7 = scores[read_at + 252u];
            var x8 = scores[read_at + 288u];
            var x9 = scores[read_at + 324u];
            var x10 = scores[read_at + 360u];
            var x11 = scores[read_at + 396u];
            var x12 = scores[read_at + 432u];
            var x13 = scores[read_at + 468u];
            var x14 = scores[read_at + 504u];
            var x15 = scores[read_at + 540u];
            
            if (16u * tile1 + 16u > fewest) {
              if (16u * tile1 + 8u >= visible) { x0 = -60000.0; }
            if (16u * tile1 + 0u >= visible) { x1 = -60000.0; }
            if (16u * tile1 + 9u >= visible) { x2 = -60000.0; }
            if (16u * tile1 + 1u >= visible) { x3 = -60000.0; }
            if (16u * tile1 + 10u >= visible) { x4 = -60000.0; }
            if (16u * tile1 + 2u >= visible) { x5 = -60000.0; }
            if (16u * tile1 + 11u >= visible) { x6 = -60000.0; }
            if (16u * tile1 + 3u >= visible) { x7 = -60000.0; }
            if (16u * tile1 + 12u >= visible) { x8 = -60000.0; }
            if (16u * tile1 + 4u >= visible) { x9 = -60000.0; }
            if (16u * tile1 + 13u >= visible) { x10 = -60000.0; }
            if (16u * tile1 + 5u >= visible) { x11 = -60000.0; }
            if (16u * tile1 + 14u >= visible) { x12 = -60000.0; }
            if (16u * tile1 + 6u >= visible) { x13 = -60000.0; }
            if (16u * tile1 + 15u >= visible) { x14 = -60000.0; }
            if (16u * tile1 + 7u >= visible) { x15 = -60000.0; }
            }
            g0 = max(g0, x0);
            g1 = max(g1, x1);
            g2 = max(g2, x2);
            g3 = max(g3, x3);
            g4 = max(g4, x4);
            g5 = max(g5, x5);
            g6 = max(g6, x6);
            g7 = max(g7, x7);
            g8 = max(g8, x8);
            g9 = max(g9, x9);
            g10 = max(g10, x10);
            g11 = max(g11, x11);
            g12 = max(g12, x12);
            g13 = max(g13, x13);
            g14 = max(g14, x14);
            g15 = max(g15, x15);
          }
        workgroupBarrier();
      }
      let at = groups_at + phase * 256u;
      
      high = max(high, g0); low = min(low, select(g0, 1e30, g0 <= -60000.0));
            high = max(high, g1); low = min(low, select(g1, 1e30, g1 <= -60000.0));
            high = max(high, g2); low = min(low, select(g2, 1e30, g2 <= -60000.0));
            high = max(high, g3); low = min(low, select(g3, 1e30, g3 <= -60000.0));
            high = max(high, g4); low = min(low, select(g4, 1e30, g4 <= -60000.0));
            high = max(high, g5); low = min(low, select(g5, 1e30, g5 <= -60000.0));
            high = max(high, g6); low = min(low, select(g6, 1e30, g6 <= -60000.0));
            high = max(high, g7); low = min(low, select(g7, 1e30, g7 <= -60000.0));
            high = max(high, g8); low = min(low, select(g8, 1e30, g8 <= -60000.0));
            high = max(high, g9); low = min(low, select(g9, 1e30, g9 <= -60000.0));
            high = max(high, g10); low = min(low, select(g10, 1e30, g10 <= -60000.0));
            high = max(high, g11); low = min(low, select(g11, 1e30, g11 <= -60000.0));
            high = max(high, g12); low = min(low, select(g12, 1e30, g12 <= -60000.0));
            high = max(high, g13); low = min(low, select(g13, 1e30, g13 <= -60000.0));
            high = max(high, g14); low = min(low, select(g14, 1e30, g14 <= -60000.0));
            high = max(high, g15); low = min(low, select(g15, 1e30, g15 <= -60000.0));
            lists[at + 0u] = pack2x16float(vec2f(g0, g1));
            lists[at + 32u] = pack2x16float(vec2f(g2, g3));
            lists[at + 64u] = pack2x16float(vec2f(g4, g5));
            lists[at + 96u] = pack2x16float(vec2f(g6, g7));
            lists[at + 128u] = pack2x16float(vec2f(g8, g9));
            lists[at + 160u] = pack2x16float(vec2f(g10, g11));
            lists[at + 192u] = pack2x16float(vec2f(g12, g13));
            lists[at + 224u] = pack2x16float(vec2f(g14, g15));
    }
    var base = low;
    var per_unit = 15.999 / max(high - low, 1e-20);
    var above = 0.0;
    var enough = true;
    workgroupBarrier();
    for (var digit = 0u; digit < 3u; digit++) {
      for (var bin = 0u; bin <= 16u; bin++) { scores[read_at + bin * 32u] = 0.0; }
      for (var word = 0u; word < 184u; word += 8u) {
        let at = groups_at + word * 32u;
        let pair0 = unpack2x16float(lists[at + 0u]);
        let pair1 = unpack2x16float(lists[at + 32u]);
        let pair2 = unpack2x16float(lists[at + 64u]);
        let pair3 = unpack2x16float(lists[at + 96u]);
        let pair4 = unpack2x16float(lists[at + 128u]);
        let pair5 = unpack2x16float(lists[at + 160u]);
        let pair6 = unpack2x16float(lists[at + 192u]);
        let pair7 = unpack2x16float(lists[at + 224u]);
        {
          let place = (pair0.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair0.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair1.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair1.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair2.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair2.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair3.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair3.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair4.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair4.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair5.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair5.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair6.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair6.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair7.x - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
        {
          let place = (pair7.y - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, 16.0)), 0u, digit > 0u && place >= 16.0);
          scores[read_at + bin * 32u] += 1.0;
        }
      }
      var bin = 16u;
      while (bin > 0u) {
        let reached = above + scores[read_at + bin * 32u];
        if (reached >= rank) { break; }
        above = reached;
        bin--;
      }
      if (bin == 0u) {
        if (digit == 0u) { enough = false; }
        bin = 1u;
      }
      base += f32(bin - 1u) / per_unit;
      per_unit *= 16.0;
    }
    let guess = base - 0.0009765625 * abs(base) - 2e-6 * (abs(low) + abs(high));
    bar = guess - bound_sum / f32(2u * max(sweep_steps, 1u));
    if (!enough) { bar = -1e+30; }
  }
  // Lists overwrite the maxima of other lanes.
  storageBarrier();
  workgroupBarrier();

  let is_zero = unit.w == 2.0;
  let room = select(192u, k, is_zero);
  var count = 0u;
  for (var step = 0u; step < steps; step++) {
    let tile0 = 2u * step;
    let tile1 = tile0 + 1u;
    var listed = vec2u();
    {
          let tile_at = keys_at + tile0 * 1024u;
          let b0 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 0u, 16u);
          let b1 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 256u, 16u);
          let b2 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 512u, 16u);
          let b3 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 768u, 16u);
          var s0 = subgroupMatrixMultiply<f32>(a0_0, b0);
          var s1 = subgroupMatrixMultiply<f32>(a1_0, b0);
          s0 = subgroupMatrixMultiplyAccumulate(a0_1, b1, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_1, b1, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_2, b2, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_2, b2, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_3, b3, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_3, b3, s1);
          subgroupMatrixStore<col_major>(&scores, store_at + 0u, s0, 36u);
          subgroupMatrixStore<col_major>(&scores, store_at + 16u, s1, 36u);
        }
        workgroupBarrier();
        {
      let limit = bar - bounds[bounds_at + tile0];
      var x0 = scores[read_at + 0u];
            var x1 = scores[read_at + 36u];
            var x2 = scores[read_at + 72u];
            var x3 = scores[read_at + 108u];
            var x4 = scores[read_at + 144u];
            var x5 = scores[read_at + 180u];
            var x6 = scores[read_at + 216u];
            var x7 = scores[read_at + 252u];
            var x8 = scores[read_at + 288u];
            var x9 = scores[read_at + 324u];
            var x10 = scores[read_at + 360u];
            var x11 = scores[read_at + 396u];
            var x12 = scores[read_at + 432u];
            var x13 = scores[read_at + 468u];
            var x14 = scores[read_at + 504u];
            var x15 = scores[read_at + 540u];
      
      var even = 0u;
            var odd = 0u;
            even = (even << 1u) | (bitcast<u32>(x0 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x1 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x2 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x3 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x4 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x5 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x6 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x7 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x8 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x9 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x10 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x11 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x12 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x13 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x14 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x15 - limit) >> 31u);
            let mask = ((odd << 24u) | (even << 8u)) ^ 0xff00ff00u;
      listed.x = mask;
    }
        workgroupBarrier();
        {
          let tile_at = keys_at + tile1 * 1024u;
          let b0 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 0u, 16u);
          let b1 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 256u, 16u);
          let b2 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 512u, 16u);
          let b3 = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + 768u, 16u);
          var s0 = subgroupMatrixMultiply<f32>(a0_0, b0);
          var s1 = subgroupMatrixMultiply<f32>(a1_0, b0);
          s0 = subgroupMatrixMultiplyAccumulate(a0_1, b1, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_1, b1, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_2, b2, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_2, b2, s1);
          s0 = subgroupMatrixMultiplyAccumulate(a0_3, b3, s0);
          s1 = subgroupMatrixMultiplyAccumulate(a1_3, b3, s1);
          subgroupMatrixStore<col_major>(&scores, store_at + 0u, s0, 36u);
          subgroupMatrixStore<col_major>(&scores, store_at + 16u, s1, 36u);
        }
        workgroupBarrier();
        {
      let limit = bar - bounds[bounds_at + tile1];
      var x0 = scores[read_at + 0u];
            var x1 = scores[read_at + 36u];
            var x2 = scores[read_at + 72u];
            var x3 = scores[read_at + 108u];
            var x4 = scores[read_at + 144u];
            var x5 = scores[read_at + 180u];
            var x6 = scores[read_at + 216u];
            var x7 = scores[read_at + 252u];
            var x8 = scores[read_at + 288u];
            var x9 = scores[read_at + 324u];
            var x10 = scores[read_at + 360u];
            var x11 = scores[read_at + 396u];
            var x12 = scores[read_at + 432u];
            var x13 = scores[read_at + 468u];
            var x14 = scores[read_at + 504u];
            var x15 = scores[read_at + 540u];
      
      var even = 0u;
            var odd = 0u;
            even = (even << 1u) | (bitcast<u32>(x0 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x1 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x2 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x3 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x4 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x5 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x6 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x7 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x8 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x9 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x10 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x11 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x12 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x13 - limit) >> 31u);
            even = (even << 1u) | (bitcast<u32>(x14 - limit) >> 31u);
            odd = (odd << 1u) | (bitcast<u32>(x15 - limit) >> 31u);
            let mask = ((odd << 24u) | (even << 8u)) ^ 0xff00ff00u;
      listed.y = mask;
    }
        workgroupBarrier();
    // In one word, key i of the 32 as bit 31 - i: see `keyOfColumn`.
    let high = (listed.x & 0xff000000u) | ((listed.x & 0xff00u) << 8u);
    var found = high | ((listed.y & 0xff000000u) >> 16u) | ((listed.y & 0xff00u) >> 8u);
    if (32u * step + 32u > fewest) {
      let inside = i32(visible) - i32(32u * step);
      found &= ~select(0xffffffffu >> u32(clamp(inside, 0, 31)), 0u, inside >= 32);
    }
    if (count > room) { found = 0u; }
    while (found != 0u) {
      let bit = firstLeadingBit(found);
      found &= ~(1u << bit);
      if (count < room) { lists[list_at + count] = 32u * step + 31u - bit; }
      count++;
    }
  }
  let above_shift = bar * unit.x;
  let shift = unit.y;
  let doubt = unit.z + 0.000030517578125 * (abs(above_shift) + 0.03125 * (abs(unit.y)));
  var threshold_bits = bitcast<u32>(above_shift + shift + doubt);
  if (bar <= -1e+30) { threshold_bits = 0xff800000u; }
  if (is_zero) { // scores 0 everywhere: its first k keys are its best
    count = min(count, k);
    threshold_bits = select(0u, 0xff800000u, count < k);
  }
  if (unit.w == 1.0) { count = 0xffffffffu; }
  heads[row] = vec2u(count, threshold_bits);
}

// tensor select subgroup {"headDim":64,"half":true,"relative":false,"keyLengths":false,"causal":true,"capacity":192}
enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, k: u32, buckets_at: u32, table_at: u32, q_base: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2u>;
@group(0) @binding(2) var<storage, read> k: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> lists: array<u32>;
@group(0) @binding(4) var<storage, read> heads: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> work: array<atomic<u32>>;
const INVOCATIONS = 32u;


struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn key_head_of(local_head: u32) -> u32 {
  return (params.first_head + local_head) / params.group - params.first_head / params.group;
}
fn load_q(i: u32) -> vec4f { let w = q[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }
fn load_k(i: u32) -> vec4f { let w = k[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }

const NAN_BITS = 0x7fc00000u;
const PLUS_INF_BITS = 0x7f800000u;
const MINUS_INF_BITS = 0xff800000u;
fn is_nan(bits: u32) -> bool { return (bits & 0x7fffffffu) > PLUS_INF_BITS; }

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

fn bits_of_key(key: u32) -> u32 {
  return key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
}

fn visible_of(row: Row) -> u32 {
  var visible = params.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u) + params.query_start)));
  
  return visible;
}

fn chain(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

fn is_nan_order(order: u32) -> bool { return order == 0xffffffffu; }
fn order_of_score(row: Row, visible: u32, key: u32, product: f32) -> u32 {
  if (key >= visible) { return 0u; }
  
  // An explicit fused operation: whether a compiler makes one of a product and a sum must not decide a tie.
  let score = params.scale * product;
  let bits = bitcast<u32>(score);
  if (is_nan(bits)) { return 0xffffffffu; }
  if (bits == MINUS_INF_BITS) { return 0u; }
  return key_of(bits);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let r = group.x + group.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  if (row.query >= params.query_length) { return; }
  let visible = visible_of(row);
  let head = heads[r];
  let listed = min(head.x, 192u);
  let list_at = r * 192u;
  let eighth = lane & 7u;
  let eight = lane & 24u;
  let keys_at = params.k_base / 4u + key_head_of(row.local_head) * params.key_length * 16u;
  let query_at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * 16u;
  let q0 = load_q(query_at + eighth + 0u);
  let q1 = load_q(query_at + eighth + 8u);
  
  var key0 = 0u;
  var order0 = 0u;
  if (listed > 0u) {
    let slot = 0u + lane;
    let key = select(0u, min(lists[list_at + min(slot, 191u)], params.key_length - 1u), slot < listed);
    var product = 0.0;
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 0u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 1u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 2u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 3u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 0u);
      product = select(product, z1, eighth == 1u);
      product = select(product, z2, eighth == 2u);
      product = select(product, z3, eighth == 3u);
    }
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 4u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 5u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 6u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 7u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 4u);
      product = select(product, z1, eighth == 5u);
      product = select(product, z2, eighth == 6u);
      product = select(product, z3, eighth == 7u);
    }
    key0 = key;
    if (slot < listed) { order0 = order_of_score(row, visible, key, product); }
  }
  var key1 = 0u;
  var order1 = 0u;
  if (listed > 32u) {
    let slot = 32u + lane;
    let key = select(0u, min(lists[list_at + min(slot, 191u)], params.key_length - 1u), slot < listed);
    var product = 0.0;
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 0u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 1u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 2u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 3u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 0u);
      product = select(product, z1, eighth == 1u);
      product = select(product, z2, eighth == 2u);
      product = select(product, z3, eighth == 3u);
    }
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 4u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 5u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 6u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 7u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 4u);
      product = select(product, z1, eighth == 5u);
      product = select(product, z2, eighth == 6u);
      product = select(product, z3, eighth == 7u);
    }
    key1 = key;
    if (slot < listed) { order1 = order_of_score(row, visible, key, product); }
  }
  var key2 = 0u;
  var order2 = 0u;
  if (listed > 64u) {
    let slot = 64u + lane;
    let key = select(0u, min(lists[list_at + min(slot, 191u)], params.key_length - 1u), slot < listed);
    var product = 0.0;
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 0u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 1u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 2u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 3u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 0u);
      product = select(product, z1, eighth == 1u);
      product = select(product, z2, eighth == 2u);
      product = select(product, z3, eighth == 3u);
    }
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 4u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 5u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 6u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 7u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 4u);
      product = select(product, z1, eighth == 5u);
      product = select(product, z2, eighth == 6u);
      product = select(product, z3, eighth == 7u);
    }
    key2 = key;
    if (slot < listed) { order2 = order_of_score(row, visible, key, product); }
  }
  var key3 = 0u;
  var order3 = 0u;
  if (listed > 96u) {
    let slot = 96u + lane;
    let key = select(0u, min(lists[list_at + min(slot, 191u)], params.key_length - 1u), slot < listed);
    var product = 0.0;
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 0u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 1u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 2u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 3u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 0u);
      product = select(product, z1, eighth == 1u);
      product = select(product, z2, eighth == 2u);
      product = select(product, z3, eighth == 3u);
    }
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 4u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 5u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 6u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 7u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 4u);
      product = select(product, z1, eighth == 5u);
      product = select(product, z2, eighth == 6u);
      product = select(product, z3, eighth == 7u);
    }
    key3 = key;
    if (slot < listed) { order3 = order_of_score(row, visible, key, product); }
  }
  var key4 = 0u;
  var order4 = 0u;
  if (listed > 128u) {
    let slot = 128u + lane;
    let key = select(0u, min(lists[list_at + min(slot, 191u)], params.key_length - 1u), slot < listed);
    var product = 0.0;
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 0u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 1u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 2u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 3u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 0u);
      product = select(product, z1, eighth == 1u);
      product = select(product, z2, eighth == 2u);
      product = select(product, z3, eighth == 3u);
    }
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 4u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 5u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 6u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 7u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 4u);
      product = select(product, z1, eighth == 5u);
      product = select(product, z2, eighth == 6u);
      product = select(product, z3, eighth == 7u);
    }
    key4 = key;
    if (slot < listed) { order4 = order_of_score(row, visible, key, product); }
  }
  var key5 = 0u;
  var order5 = 0u;
  if (listed > 160u) {
    let slot = 160u + lane;
    let key = select(0u, min(lists[list_at + min(slot, 191u)], params.key_length - 1u), slot < listed);
    var product = 0.0;
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 0u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 1u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 2u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 3u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 0u);
      product = select(product, z1, eighth == 1u);
      product = select(product, z2, eighth == 2u);
      product = select(product, z3, eighth == 3u);
    }
    {
      let at0 = keys_at + subgroupShuffle(key, eight + 4u) * 16u;
      let at1 = keys_at + subgroupShuffle(key, eight + 5u) * 16u;
      let at2 = keys_at + subgroupShuffle(key, eight + 6u) * 16u;
      let at3 = keys_at + subgroupShuffle(key, eight + 7u) * 16u;
      let x0_0 = load_k(at0 + eighth + 0u); let x0_1 = load_k(at0 + eighth + 8u);
      let x1_0 = load_k(at1 + eighth + 0u); let x1_1 = load_k(at1 + eighth + 8u);
      let x2_0 = load_k(at2 + eighth + 0u); let x2_1 = load_k(at2 + eighth + 8u);
      let x3_0 = load_k(at3 + eighth + 0u); let x3_1 = load_k(at3 + eighth + 8u);
      var z0 = chain(chain(0.0, q0, x0_0), q1, x0_1);
      var z1 = chain(chain(0.0, q0, x1_0), q1, x1_1);
      var z2 = chain(chain(0.0, q0, x2_0), q1, x2_1);
      var z3 = chain(chain(0.0, q0, x3_0), q1, x3_1);
      z0 += subgroupShuffleXor(z0, 1u);
      z1 += subgroupShuffleXor(z1, 1u);
      z2 += subgroupShuffleXor(z2, 1u);
      z3 += subgroupShuffleXor(z3, 1u);
      z0 += subgroupShuffleXor(z0, 2u);
      z1 += subgroupShuffleXor(z1, 2u);
      z2 += subgroupShuffleXor(z2, 2u);
      z3 += subgroupShuffleXor(z3, 2u);
      z0 += subgroupShuffleXor(z0, 4u);
      z1 += subgroupShuffleXor(z1, 4u);
      z2 += subgroupShuffleXor(z2, 4u);
      z3 += subgroupShuffleXor(z3, 4u);
      product = select(product, z0, eighth == 4u);
      product = select(product, z1, eighth == 5u);
      product = select(product, z2, eighth == 6u);
      product = select(product, z3, eighth == 7u);
    }
    key5 = key;
    if (slot < listed) { order5 = order_of_score(row, visible, key, product); }
  }

  // The k-th largest, bit by bit; the search may end at a bar between the k-th and the next.
  let valid = subgroupAdd(select(0u, 1u, order0 != 0u) + select(0u, 1u, order1 != 0u) + select(0u, 1u, order2 != 0u) + select(0u, 1u, order3 != 0u) + select(0u, 1u, order4 != 0u) + select(0u, 1u, order5 != 0u));
  let k = params.k;
  var bar = 1u;
  var last_tie = 0xffffffffu;
  if (valid > k) {
    bar = 0u;
    var reached = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
      let higher = bar | (0x80000000u >> bit);
      let count = subgroupAdd(select(0u, 1u, order0 >= higher) + select(0u, 1u, order1 >= higher) + select(0u, 1u, order2 >= higher) + select(0u, 1u, order3 >= higher) + select(0u, 1u, order4 >= higher) + select(0u, 1u, order5 >= higher));
      if (count >= k) {
        bar = higher;
        reached = count;
        if (count == k) { break; }
      }
    }
    if (reached != k) { // more equals than places: the largest index that still has one
      let needed = k - subgroupAdd(select(0u, 1u, order0 > bar) + select(0u, 1u, order1 > bar) + select(0u, 1u, order2 > bar) + select(0u, 1u, order3 > bar) + select(0u, 1u, order4 > bar) + select(0u, 1u, order5 > bar));
      last_tie = 0u;
      for (var bit = 0u; bit < 32u; bit++) {
        let higher = last_tie | (0x80000000u >> bit);
        if (subgroupAdd(select(0u, 1u, order0 == bar && key0 < higher) + select(0u, 1u, order1 == bar && key1 < higher) + select(0u, 1u, order2 == bar && key2 < higher) + select(0u, 1u, order3 == bar && key3 < higher) + select(0u, 1u, order4 == bar && key4 < higher) + select(0u, 1u, order5 == bar && key5 < higher)) < needed) { last_tie = higher; }
      }
    }
  }
  let has_nan = subgroupAny(is_nan_order(order0) || is_nan_order(order1) || is_nan_order(order2) || is_nan_order(order3) || is_nan_order(order4) || is_nan_order(order5));
  let lowest = subgroupMin(min(min(min(min(min(min(0xffffffffu, select(0xffffffffu, order0, (order0 > bar || (order0 == bar && key0 <= last_tie && order0 != 0u)))), select(0xffffffffu, order1, (order1 > bar || (order1 == bar && key1 <= last_tie && order1 != 0u)))), select(0xffffffffu, order2, (order2 > bar || (order2 == bar && key2 <= last_tie && order2 != 0u)))), select(0xffffffffu, order3, (order3 > bar || (order3 == bar && key3 <= last_tie && order3 != 0u)))), select(0xffffffffu, order4, (order4 > bar || (order4 == bar && key4 <= last_tie && order4 != 0u)))), select(0xffffffffu, order5, (order5 > bar || (order5 == bar && key5 <= last_tie && order5 != 0u)))));
  if (lane == 0u) {
    let overflowed = head.x > 192u;
    let is_proved = head.y == MINUS_INF_BITS || (valid >= k && key_of(head.y) <= lowest);
    if (overflowed || !(is_proved || has_nan)) {
      atomicStore(&work[8u + atomicAdd(&work[0], 1u)], r);
      if (overflowed) { atomicAdd(&work[1], 1u); }
    }
    if ((r & 31u) == 0u) {
      atomicAdd(&work[2], 1u);
      atomicAdd(&work[3], min(head.x, 384u));
      atomicMax(&work[4], head.x);
    }
  }

  let before = (1u << lane) - 1u;
  var place = 0u;
  {
    let keep = (order0 > bar || (order0 == bar && key0 <= last_tie && order0 != 0u)) && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key0; lists[list_at + k + slot] = bits_of_key(order0);
    }
    place += countOneBits(votes);
  }
  {
    let keep = (order1 > bar || (order1 == bar && key1 <= last_tie && order1 != 0u)) && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key1; lists[list_at + k + slot] = bits_of_key(order1);
    }
    place += countOneBits(votes);
  }
  {
    let keep = (order2 > bar || (order2 == bar && key2 <= last_tie && order2 != 0u)) && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key2; lists[list_at + k + slot] = bits_of_key(order2);
    }
    place += countOneBits(votes);
  }
  {
    let keep = (order3 > bar || (order3 == bar && key3 <= last_tie && order3 != 0u)) && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key3; lists[list_at + k + slot] = bits_of_key(order3);
    }
    place += countOneBits(votes);
  }
  {
    let keep = (order4 > bar || (order4 == bar && key4 <= last_tie && order4 != 0u)) && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key4; lists[list_at + k + slot] = bits_of_key(order4);
    }
    place += countOneBits(votes);
  }
  {
    let keep = (order5 > bar || (order5 == bar && key5 <= last_tie && order5 != 0u)) && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key5; lists[list_at + k + slot] = bits_of_key(order5);
    }
    place += countOneBits(votes);
  }
  for (var slot = place + lane; slot < k; slot += 32u) {
    lists[list_at + slot] = 0xffffffffu;
    lists[list_at + k + slot] = select(MINUS_INF_BITS, NAN_BITS, has_nan);
  }
}

// tensor select {"headDim":64,"half":true,"relative":false,"keyLengths":false,"causal":true,"capacity":192,"invocations":1024,"from":"all"}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, k: u32, buckets_at: u32, table_at: u32, first_flagged: u32, end_flagged: u32, q_base: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2u>;
@group(0) @binding(2) var<storage, read> k: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> lists: array<u32>;
@group(0) @binding(4) var<storage, read> flagged: array<u32>;
@group(0) @binding(5) var<storage, read_write> orders: array<vec4u>;
const INVOCATIONS = 1024u;


struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn key_head_of(local_head: u32) -> u32 {
  return (params.first_head + local_head) / params.group - params.first_head / params.group;
}
var<workgroup> query: array<vec4f, 16>;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> coarse: array<u32, 16>;
var<workgroup> valid_count: atomic<u32>;
var<workgroup> nan_count: atomic<u32>;
var<workgroup> kept_count: atomic<u32>;
var<workgroup> lowest_kept: atomic<u32>;
var<workgroup> picked: vec3u;
var<workgroup> totals: vec2u;
fn load_q(i: u32) -> vec4f { let w = q[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }
fn load_k(i: u32) -> vec4f { let w = k[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }

const NAN_BITS = 0x7fc00000u;
const PLUS_INF_BITS = 0x7f800000u;
const MINUS_INF_BITS = 0xff800000u;
fn is_nan(bits: u32) -> bool { return (bits & 0x7fffffffu) > PLUS_INF_BITS; }

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

fn bits_of_key(key: u32) -> u32 {
  return key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
}

fn visible_of(row: Row) -> u32 {
  var visible = params.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u) + params.query_start)));
  
  return visible;
}

fn chain(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

fn dot_whole(at: u32) -> f32 {
  let s0 = chain(chain(0.0, query[0], load_k(at + 0u)), query[8], load_k(at + 8u));
  let s1 = chain(chain(0.0, query[1], load_k(at + 1u)), query[9], load_k(at + 9u));
  let s2 = chain(chain(0.0, query[2], load_k(at + 2u)), query[10], load_k(at + 10u));
  let s3 = chain(chain(0.0, query[3], load_k(at + 3u)), query[11], load_k(at + 11u));
  let s4 = chain(chain(0.0, query[4], load_k(at + 4u)), query[12], load_k(at + 12u));
  let s5 = chain(chain(0.0, query[5], load_k(at + 5u)), query[13], load_k(at + 13u));
  let s6 = chain(chain(0.0, query[6], load_k(at + 6u)), query[14], load_k(at + 14u));
  let s7 = chain(chain(0.0, query[7], load_k(at + 7u)), query[15], load_k(at + 15u));
  return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
}

fn is_nan_order(order: u32) -> bool { return order == 0xffffffffu; }
fn order_of_score(row: Row, visible: u32, key: u32, product: f32) -> u32 {
  if (key >= visible) { return 0u; }
  
  // An explicit fused operation: whether a compiler makes one of a product and a sum must not decide a tie.
  let score = params.scale * product;
  let bits = bitcast<u32>(score);
  if (is_nan(bits)) { return 0xffffffffu; }
  if (bits == MINUS_INF_BITS) { return 0u; }
  return key_of(bits);
}

var<workgroup> sort_keys: array<u32, 128>;
var<workgroup> sort_orders: array<u32, 128>;
fn sort_by_key(count: u32, lane: u32) {
  for (var at = count + lane; at < 128u; at += 1024u) { sort_keys[at] = 0xffffffffu; }
  workgroupBarrier();
  for (var run = 2u; run <= 128u; run *= 2u) {
    for (var step = run / 2u; step > 0u; step /= 2u) {
      for (var pair = lane; pair < 64u; pair += 1024u) {
        let low = 2u * pair - (pair & (step - 1u));
        let high = low + step;
        let a = sort_keys[low];
        let b = sort_keys[high];
        if ((a > b) == ((low & run) == 0u)) {
          sort_keys[low] = b;
          sort_keys[high] = a;
          let order = sort_orders[low];
          sort_orders[low] = sort_orders[high];
          sort_orders[high] = order;
        }
      }
      workgroupBarrier();
    }
  }
}

fn candidate(list_at: u32, i: u32) -> u32 {
  return i;
}

/** The bin of the needed-th largest value, how many lie in higher bins, how many in it. */
fn pick_bin(needed: u32, t: u32) -> vec3u {
  if (t < 16u) {
    var sum = 0u;
    for (var i = 0u; i < 16u; i++) { sum += atomicLoad(&histogram[16u * t + i]); }
    coarse[t] = sum;
  }
  workgroupBarrier();
  if (t == 0u) {
    var above = 0u;
    var block = 15u;
    while (block > 0u && above + coarse[block] < needed) { above += coarse[block]; block--; }
    var bin = 16u * block + 15u;
    while (bin > 16u * block && above + atomicLoad(&histogram[bin]) < needed) {
      above += atomicLoad(&histogram[bin]);
      bin--;
    }
    picked = vec3u(bin, above, atomicLoad(&histogram[bin]));
  }
  return workgroupUniformLoad(&picked);
}

/**
 * The needed-th largest among the ordered keys, or, for `ties`, among the complements of the indices whose ordered key
 * is `bar`; with the places that are left for its equals, and their number.
 */
fn find_largest(n: u32, list_at: u32, orders_at: u32, wanted: u32, ties: bool, bar: u32, t: u32) -> vec3u {
  var prefix = 0u;
  var needed = wanted;
  var equals = 0u;
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    for (var bin = t; bin < 256u; bin += INVOCATIONS) { atomicStore(&histogram[bin], 0u); }
    workgroupBarrier();
    for (var four = t; 4u * four < n; four += INVOCATIONS) {
      let of_four = orders[orders_at + four];
      {
        let order = of_four[0];
        var value = order;
        var counts = order != 0u;
        if (ties) {
          value = ~candidate(list_at, min(4u * four + 0u, n - 1u));
          counts = order == bar;
        }
        if (counts && (digit == 0u || ((value ^ prefix) >> (shift + 8u)) == 0u)) {
          atomicAdd(&histogram[(value >> shift) & 255u], 1u);
        }
      }
      {
        let order = of_four[1];
        var value = order;
        var counts = order != 0u;
        if (ties) {
          value = ~candidate(list_at, min(4u * four + 1u, n - 1u));
          counts = order == bar;
        }
        if (counts && (digit == 0u || ((value ^ prefix) >> (shift + 8u)) == 0u)) {
          atomicAdd(&histogram[(value >> shift) & 255u], 1u);
        }
      }
      {
        let order = of_four[2];
        var value = order;
        var counts = order != 0u;
        if (ties) {
          value = ~candidate(list_at, min(4u * four + 2u, n - 1u));
          counts = order == bar;
        }
        if (counts && (digit == 0u || ((value ^ prefix) >> (shift + 8u)) == 0u)) {
          atomicAdd(&histogram[(value >> shift) & 255u], 1u);
        }
      }
      {
        let order = of_four[3];
        var value = order;
        var counts = order != 0u;
        if (ties) {
          value = ~candidate(list_at, min(4u * four + 3u, n - 1u));
          counts = order == bar;
        }
        if (counts && (digit == 0u || ((value ^ prefix) >> (shift + 8u)) == 0u)) {
          atomicAdd(&histogram[(value >> shift) & 255u], 1u);
        }
      }
    }
    workgroupBarrier();
    let bin = pick_bin(needed, t);
    prefix |= bin.x << shift;
    needed -= bin.y;
    equals = bin.z;
    workgroupBarrier();
  }
  return vec3u(prefix, needed, equals);
}

/** Leaves the k best of n candidates in `sort_keys`, ascending, and returns how many they are, and the lowest of their ordered keys; 0xffffffff kept ones for a NaN. */
fn select_row(row: Row, visible: u32, n: u32, list_at: u32, orders_at: u32, t: u32) -> vec3u {
  let query_at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * 16u;
  for (var i = t; i < 16u; i += INVOCATIONS) { query[i] = load_q(query_at + i); }
  if (t == 0u) {
    atomicStore(&valid_count, 0u);
    atomicStore(&nan_count, 0u);
    atomicStore(&kept_count, 0u);
    atomicStore(&lowest_kept, 0xffffffffu);
  }
  workgroupBarrier();
  let keys_at = params.k_base / 4u + key_head_of(row.local_head) * params.key_length * 16u;
  var valid = 0u;
  var nans = 0u;
  for (var four = t; 4u * four < n; four += INVOCATIONS) {
    let key0 = candidate(list_at, min(4u * four + 0u, n - 1u));
    let key1 = candidate(list_at, min(4u * four + 1u, n - 1u));
    let key2 = candidate(list_at, min(4u * four + 2u, n - 1u));
    let key3 = candidate(list_at, min(4u * four + 3u, n - 1u));
    let product0 = dot_whole(keys_at + key0 * 16u);
    let product1 = dot_whole(keys_at + key1 * 16u);
    let product2 = dot_whole(keys_at + key2 * 16u);
    let product3 = dot_whole(keys_at + key3 * 16u);
    var of_four = vec4u();
    {
        let order = select(0u, order_of_score(row, visible, key0, product0), 4u * four + 0u < n);
      of_four[0] = order;
      valid += select(0u, 1u, order != 0u);
      nans += select(0u, 1u, is_nan_order(order));
      }
      {
        let order = select(0u, order_of_score(row, visible, key1, product1), 4u * four + 1u < n);
      of_four[1] = order;
      valid += select(0u, 1u, order != 0u);
      nans += select(0u, 1u, is_nan_order(order));
      }
      {
        let order = select(0u, order_of_score(row, visible, key2, product2), 4u * four + 2u < n);
      of_four[2] = order;
      valid += select(0u, 1u, order != 0u);
      nans += select(0u, 1u, is_nan_order(order));
      }
      {
        let order = select(0u, order_of_score(row, visible, key3, product3), 4u * four + 3u < n);
      of_four[3] = order;
      valid += select(0u, 1u, order != 0u);
      nans += select(0u, 1u, is_nan_order(order));
      }
    orders[orders_at + four] = of_four;
  }
  if (valid > 0u) { atomicAdd(&valid_count, valid); }
  if (nans > 0u) { atomicAdd(&nan_count, nans); }
  storageBarrier();
  workgroupBarrier();
  if (t == 0u) { totals = vec2u(atomicLoad(&valid_count), atomicLoad(&nan_count)); }
  let counted = workgroupUniformLoad(&totals);
  if (counted.y > 0u) { return vec3u(0u, 0u, 1u); }
  let k = params.k;
  var bar = 1u;
  var last_tie = 0xffffffffu;
  if (counted.x > k) {
    let found = find_largest(n, list_at, orders_at, k, false, 0u, t);
    bar = found.x;
    if (found.y < found.z) { last_tie = ~find_largest(n, list_at, orders_at, found.y, true, bar, t).x; }
  }
  for (var four = t; 4u * four < n; four += INVOCATIONS) {
    let of_four = orders[orders_at + four];
    {
        let order = of_four[0];
      if (order >= bar) {
        let key = candidate(list_at, min(4u * four + 0u, n - 1u));
        if (order != bar || key <= last_tie) {
          let slot = atomicAdd(&kept_count, 1u);
          atomicMin(&lowest_kept, order);
          if (slot < 128u) {
            sort_keys[slot] = key;
            sort_orders[slot] = order;
          }
        }
      }
      }
      {
        let order = of_four[1];
      if (order >= bar) {
        let key = candidate(list_at, min(4u * four + 1u, n - 1u));
        if (order != bar || key <= last_tie) {
          let slot = atomicAdd(&kept_count, 1u);
          atomicMin(&lowest_kept, order);
          if (slot < 128u) {
            sort_keys[slot] = key;
            sort_orders[slot] = order;
          }
        }
      }
      }
      {
        let order = of_four[2];
      if (order >= bar) {
        let key = candidate(list_at, min(4u * four + 2u, n - 1u));
        if (order != bar || key <= last_tie) {
          let slot = atomicAdd(&kept_count, 1u);
          atomicMin(&lowest_kept, order);
          if (slot < 128u) {
            sort_keys[slot] = key;
            sort_orders[slot] = order;
          }
        }
      }
      }
      {
        let order = of_four[3];
      if (order >= bar) {
        let key = candidate(list_at, min(4u * four + 3u, n - 1u));
        if (order != bar || key <= last_tie) {
          let slot = atomicAdd(&kept_count, 1u);
          atomicMin(&lowest_kept, order);
          if (slot < 128u) {
            sort_keys[slot] = key;
            sort_orders[slot] = order;
          }
        }
      }
      }
  }
  workgroupBarrier();
  if (t == 0u) { totals = vec2u(atomicLoad(&lowest_kept), 0u); }
  let lowest = workgroupUniformLoad(&totals).x;
  let kept = min(counted.x, k);
  sort_by_key(kept, t);
  return vec3u(kept, lowest, 0u);
}

/** Overwrites the row of the list: k indices ascending, then -1; the bits of their scores, then -inf; NaN rows -1, NaN. */
fn write_row(list_at: u32, kept: u32, has_nan: bool, t: u32) {
  for (var slot = t; slot < params.k; slot += INVOCATIONS) {
    let used = slot < kept;
    let at = min(slot, 127u);
    lists[list_at + slot] = select(0xffffffffu, sort_keys[at], used);
    let unused = select(MINUS_INF_BITS, NAN_BITS, has_nan);
    lists[list_at + params.k + slot] = select(unused, bits_of_key(sort_orders[at]), used);
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  
  let last = min(min(flagged[0], params.end_flagged), params.heads * params.queries);
  for (var at = params.first_flagged + group.x; at < last; at += groups.x) {
    let r = flagged[8u + at];
    let row = row_at(r);
    let visible = visible_of(row);
    let found = select_row(row, visible, visible, r * 192u, group.x * ((params.key_length + 3u) / 4u), t);
    write_row(r * 192u, found.x, found.z != 0u, t);
    storageBarrier();
    workgroupBarrier();
  }
}

// tensor combine {"valueDim":64,"half":true,"capacity":192,"dropout":false,"subgroup":true,"saves":true}
enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, k: u32, v_base: u32, out_base: u32, indices_base: u32, scores_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lists: array<u32>;
@group(0) @binding(2) var<storage, read> v: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> indices: array<u32>;
@group(0) @binding(5) var<storage, read_write> scores: array<u32>;
const INVOCATIONS = 32u;


struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn key_head_of(local_head: u32) -> u32 {
  return (params.first_head + local_head) / params.group - params.first_head / params.group;
}
var<workgroup> keys: array<u32, 96>;
var<workgroup> weights: array<f32, 96>;
var<workgroup> partial: array<vec4f, 32>;
fn load_v(i: u32) -> vec4f { let w = v[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }

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
fn halves_of(low: f32, high: f32) -> u32 { return half_of(low) | (half_of(high) << 16u); }

const NAN_BITS = 0x7fc00000u;
const PLUS_INF_BITS = 0x7f800000u;
const MINUS_INF_BITS = 0xff800000u;
fn is_nan(bits: u32) -> bool { return (bits & 0x7fffffffu) > PLUS_INF_BITS; }

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

fn bits_of_key(key: u32) -> u32 {
  return key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
}


fn max_of_lanes(value: u32, lane: u32) -> u32 {
  var all = value;
  all = max(all, subgroupShuffleXor(all, 1u));
  all = max(all, subgroupShuffleXor(all, 2u));
  all = max(all, subgroupShuffleXor(all, 4u));
  all = max(all, subgroupShuffleXor(all, 8u));
  all = max(all, subgroupShuffleXor(all, 16u));
  return all;
}

fn sum_of_lanes_u32(value: u32, lane: u32) -> u32 {
  var all = value;
  all = all + subgroupShuffleXor(all, 1u);
  all = all + subgroupShuffleXor(all, 2u);
  all = all + subgroupShuffleXor(all, 4u);
  all = all + subgroupShuffleXor(all, 8u);
  all = all + subgroupShuffleXor(all, 16u);
  return all;
}

fn sum_of_lanes(value: f32, lane: u32) -> f32 {
  var all = value;
  all = all + subgroupShuffleXor(all, 1u);
  all = all + subgroupShuffleXor(all, 2u);
  all = all + subgroupShuffleXor(all, 4u);
  all = all + subgroupShuffleXor(all, 8u);
  all = all + subgroupShuffleXor(all, 16u);
  return all;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let r = group.x + group.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  if (row.query >= params.query_length) { return; }
  let k = params.k;
  let list_at = r * 192u;
  let row_place = row.local_head * params.query_length + row.local_query;

  var largest = 0u;
  var count = 0u;
  for (var slot = lane; slot < k; slot += 32u) {
    let key = lists[list_at + slot];
    let bits = lists[list_at + k + slot];
    keys[slot] = key;
    weights[slot] = bitcast<f32>(bits);
    if (key != 0xffffffffu) {
      count++;
      largest = max(largest, key_of(bits));
    } else if (is_nan(bits)) {
      largest = 0xffffffffu;
    }
    indices[params.indices_base + row_place * k + slot] = key;
    scores[params.scores_base + row_place * k + slot] = bits;
  }
  largest = max_of_lanes(largest, lane);
  count = sum_of_lanes_u32(count, lane);
  let is_bad = largest >= key_of(PLUS_INF_BITS);
  let base = bitcast<f32>(bits_of_key(select(largest, 0x80000000u, is_bad || count == 0u)));
  var sum = 0.0;
  for (var slot = lane; slot < count; slot += 32u) {
    let weight = exp(weights[slot] - base);
    weights[slot] = weight;
    sum += weight;
  }
  sum = sum_of_lanes(sum, lane);
  let share = 1.0 / max(sum, 1e-38);
  for (var slot = lane; slot < count; slot += 32u) {
    weights[slot] *= share;
  }
  workgroupBarrier();

  let part = lane / 16u;
  let c = lane % 16u;
  let values_at = params.v_base / 4u + key_head_of(row.local_head) * params.key_length * 16u;
  var sum0 = vec4f();
  if (part < 2u) {
    for (var slot = part; slot < count; slot += 16u) {
      let at0 = min(slot + 0u, count - 1u); let from0 = values_at + keys[at0] * 16u;
      let at1 = min(slot + 2u, count - 1u); let from1 = values_at + keys[at1] * 16u;
      let at2 = min(slot + 4u, count - 1u); let from2 = values_at + keys[at2] * 16u;
      let at3 = min(slot + 6u, count - 1u); let from3 = values_at + keys[at3] * 16u;
      let at4 = min(slot + 8u, count - 1u); let from4 = values_at + keys[at4] * 16u;
      let at5 = min(slot + 10u, count - 1u); let from5 = values_at + keys[at5] * 16u;
      let at6 = min(slot + 12u, count - 1u); let from6 = values_at + keys[at6] * 16u;
      let at7 = min(slot + 14u, count - 1u); let from7 = values_at + keys[at7] * 16u;
      let x0_0 = load_v(from0 + min(c + 0u, 15u));
      let x1_0 = load_v(from1 + min(c + 0u, 15u));
      let x2_0 = load_v(from2 + min(c + 0u, 15u));
      let x3_0 = load_v(from3 + min(c + 0u, 15u));
      let x4_0 = load_v(from4 + min(c + 0u, 15u));
      let x5_0 = load_v(from5 + min(c + 0u, 15u));
      let x6_0 = load_v(from6 + min(c + 0u, 15u));
      let x7_0 = load_v(from7 + min(c + 0u, 15u));
      let w0 = select(0.0, weights[at0], slot + 0u < count);
      let w1 = select(0.0, weights[at1], slot + 2u < count);
      let w2 = select(0.0, weights[at2], slot + 4u < count);
      let w3 = select(0.0, weights[at3], slot + 6u < count);
      let w4 = select(0.0, weights[at4], slot + 8u < count);
      let w5 = select(0.0, weights[at5], slot + 10u < count);
      let w6 = select(0.0, weights[at6], slot + 12u < count);
      let w7 = select(0.0, weights[at7], slot + 14u < count);
      sum0 = fma(vec4f(w0), x0_0, sum0);
      sum0 = fma(vec4f(w1), x1_0, sum0);
      sum0 = fma(vec4f(w2), x2_0, sum0);
      sum0 = fma(vec4f(w3), x3_0, sum0);
      sum0 = fma(vec4f(w4), x4_0, sum0);
      sum0 = fma(vec4f(w5), x5_0, sum0);
      sum0 = fma(vec4f(w6), x6_0, sum0);
      sum0 = fma(vec4f(w7), x7_0, sum0);
    }
  }
  partial[lane] = sum0;
  workgroupBarrier();
  if (lane < 16u) {
    sum0 = partial[lane] + partial[lane + 16u];
  }
  if (lane < 16u && c + 0u < 16u) {
    let whole = bitcast<vec4u>(sum0);
    let bits = select(whole, vec4u(NAN_BITS), is_bad);
    let at = params.out_base / 4u + row_place * 16u + c + 0u;
    out[at] = vec2u(
      halves_of(bitcast<f32>(bits.x), bitcast<f32>(bits.y)), halves_of(bitcast<f32>(bits.z), bitcast<f32>(bits.w)),
    );
  }
}

// tensor add counters
struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> of_part: array<u32>;
@group(0) @binding(2) var<storage, read_write> of_call: array<u32>;
const INVOCATIONS = 1u;

@compute @workgroup_size(INVOCATIONS)
fn main() {
  for (var i = 0u; i < 4u; i++) { of_call[i] += of_part[i]; }
  of_call[4] = max(of_call[4], of_part[4]);
  of_call[5] += params.rows;
  let flagged = of_part[0];
  of_call[6] = flagged;
  let caution = of_call[7];
  let is_rare = flagged <= params.rows / 1024u;
  of_call[7] = select(64u, max(caution, 1u) - 1u, is_rare || caution != 0u);
}
