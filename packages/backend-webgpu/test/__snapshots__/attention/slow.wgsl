

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
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> slow: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
@group(0) @binding(5) var<storage, read_write> lists: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> scratch: array<u32>;

fn visible_of(row: Row) -> u32 {
  var visible = geometry.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u + geometry.key_length) - i32(geometry.query_length))));
  
  return visible;
}

fn load_query(row: u32, quad: u32) -> vec4f {
  
  return q[geometry.q_base / 4u + row * 16u + quad];
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  return k[geometry.k_base / 4u + row * 16u + quad];
}

fn score_quad(dots: vec4f, row: Row, keys: vec4u) -> vec4f {
  return geometry.scale * dots;
}

var<private> list: u32;

fn score_bits(at: u32) -> u32 {
  return scratch[at];
}

fn keep(slot: u32, key: u32, bits: u32) {
  lists[list + slot] = vec2u(key, bits);
}


const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

const NAN_ROW = 0xffffffffu;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> sums: array<vec2u, 512>;
var<workgroup> has_nan: atomic<u32>;
/** The digit of the k-th key, how many keys have a larger one, how many there are, whether one is NaN. */
var<workgroup> chosen: vec4u;

/** Sums over the invocations up to and with this one. */
fn inclusive_sum(t: u32, value: vec2u) -> vec2u {
  var sum = value;
  var side = 0u;
  sums[t] = sum;
  workgroupBarrier();
  for (var reach = 1u; reach < 256u; reach *= 2u) {
    if (t >= reach) { sum += sums[side + t - reach]; }
    side = 256u - side;
    sums[side + t] = sum;
    workgroupBarrier();
  }
  return sum;
}

/** Counts the digit at `shift` of all keys that begin with `prefix` and finds the one with the `wanted`-th largest. */
fn choose_digit(t: u32, start: u32, visible: u32, shift: u32, prefix: u32, wanted: u32) -> vec4u {
  atomicStore(&histogram[t], 0u);
  if (t == 0u) { atomicStore(&has_nan, 0u); }
  workgroupBarrier();
  for (var j = t; j < visible; j += 256u) {
    let bits = score_bits(start + j);
    if ((bits & 0x7fffffffu) > 0x7f800000u) { atomicOr(&has_nan, 1u); }
    let key = key_of(bits);
    // In two steps: a shift by 32 is none.
    if (bits != MINUS_INF_BITS && (((key ^ prefix) >> shift) >> 8u) == 0u) {
      atomicAdd(&histogram[(key >> shift) & 255u], 1u);
    }
  }
  workgroupBarrier();
  let digit = 255u - t;
  let count = atomicLoad(&histogram[digit]);
  let reached = inclusive_sum(t, vec2u(count, 0u)).x;
  if (t == 255u) { chosen = vec4u(0u, 0u, reached, atomicLoad(&has_nan)); }
  workgroupBarrier();
  if (reached >= wanted && reached - count < wanted) {
    chosen.x = digit;
    chosen.y = reached - count;
  }
  return workgroupUniformLoad(&chosen);
}

fn select_row(t: u32, start: u32, visible: u32, k: u32) -> u32 {
  let first = choose_digit(t, start, visible, 24u, 0u, k);
  if (first.w != 0u) { return NAN_ROW; }
  // Everything valid is kept when there is no more than k of it: no valid key has the key 0.
  var threshold = 0u;
  var ties = 0u;
  if (first.z > k) {
    threshold = first.x << 24u;
    ties = k - first.y;
    for (var shift = 16i; shift >= 0i; shift -= 8i) {
      let next = choose_digit(t, start, visible, u32(shift), threshold, ties);
      threshold |= next.x << u32(shift);
      ties -= next.y;
    }
  }
  // Every invocation writes the kept keys of a run of keys, behind those of the runs before it.
  let run = (visible + 255u) / 256u;
  let begin = min(t * run, visible);
  let end = min(begin + run, visible);
  var above = 0u;
  var equal = 0u;
  for (var j = begin; j < end; j++) {
    let bits = score_bits(start + j);
    if (bits == MINUS_INF_BITS) { continue; }
    let key = key_of(bits);
    if (key > threshold) { above++; } else if (key == threshold) { equal++; }
  }
  let sum = inclusive_sum(t, vec2u(above, equal));
  let equal_before = sum.y - equal;
  var equal_left = max(ties, equal_before) - equal_before;
  var slot = sum.x - above + min(ties, equal_before);
  for (var j = begin; j < end; j++) {
    let bits = score_bits(start + j);
    if (bits == MINUS_INF_BITS) { continue; }
    let key = key_of(bits);
    if (key < threshold || (key == threshold && equal_left == 0u)) { continue; }
    if (key == threshold) { equal_left--; }
    keep(slot, j, bits);
    slot++;
  }
  return min(first.z, k);
}

var<workgroup> query_rows: array<array<vec4f, 2>, 16>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = geometry.group * geometry.queries;
  let key_heads = geometry.heads / geometry.group;
  let scratch_start = id.x * 2u * geometry.own.z;
  let last_key = geometry.key_length - 1u;
  var job = id.x;
  for (var key_head = 0u; key_head < key_heads; key_head++) {
    let count = slow[key_head];
    let jobs = (count + 1u) / 2u;
    for (; job < jobs; job += groups.x) {
      // The last job of a head may repeat its last row.
      let row_0 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(2u * job + 0u, count - 1u)],
      );
      let row_1 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(2u * job + 1u, count - 1u)],
      );
      workgroupBarrier();
      for (var quad = t; quad < 16u; quad += 256u) {
        query_rows[quad][0] = load_query(row_0.local_head * geometry.query_length + row_0.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += 256u) {
        query_rows[quad][1] = load_query(row_1.local_head * geometry.query_length + row_1.local_query, quad);
      }
      workgroupBarrier();
      let visible_0 = visible_of(row_0);
      let visible_1 = visible_of(row_1);
      let end = max(visible_0, visible_1);
      for (var key = t; key < end; key += 256u) {
        let key_row = key_head * geometry.key_length + min(key, last_key);
        var dot_0 = 0.0; var dot_1 = 0.0;
        for (var quad = 0u; quad < 16u; quad++) {
          let key_quad = load_key(key_row, quad);
          {
            let query_quad = query_rows[quad][0];
            dot_0 = fma(query_quad.x, key_quad.x, dot_0);
            dot_0 = fma(query_quad.y, key_quad.y, dot_0);
            dot_0 = fma(query_quad.z, key_quad.z, dot_0);
            dot_0 = fma(query_quad.w, key_quad.w, dot_0);
          }
          {
            let query_quad = query_rows[quad][1];
            dot_1 = fma(query_quad.x, key_quad.x, dot_1);
            dot_1 = fma(query_quad.y, key_quad.y, dot_1);
            dot_1 = fma(query_quad.z, key_quad.z, dot_1);
            dot_1 = fma(query_quad.w, key_quad.w, dot_1);
          }
        }
        scratch[scratch_start + 0u * geometry.own.z + key] =
          bitcast<u32>(score_quad(vec4f(dot_0), row_0, vec4u(key)).x);
        scratch[scratch_start + 1u * geometry.own.z + key] =
          bitcast<u32>(score_quad(vec4f(dot_1), row_1, vec4u(key)).x);
      }
      storageBarrier();
      if (2u * job + 0u < count) {
        let index = row_0.local_head * geometry.queries + row_0.local_query;
        list = index * geometry.own.x;
        let kept = select_row(t, scratch_start + 0u * geometry.own.z, visible_0, geometry.own.y);
        if (t == 0u) { counts[index] = kept; }
      }
      if (2u * job + 1u < count) {
        let index = row_1.local_head * geometry.queries + row_1.local_query;
        list = index * geometry.own.x;
        let kept = select_row(t, scratch_start + 1u * geometry.own.z, visible_1, geometry.own.y);
        if (t == 0u) { counts[index] = kept; }
      }
      storageBarrier();
    }
    job -= jobs;
  }
}