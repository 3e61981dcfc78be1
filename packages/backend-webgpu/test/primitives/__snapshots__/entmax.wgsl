struct Params { rows: u32, width: u32, steps: u32, extents_0: u32, extents_1: u32, extents_2: u32, strides_0: u32, strides_1: u32, strides_2: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<vec4u>;
@group(0) @binding(2) var<storage, read> visible: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
const INVOCATIONS = 256u;

const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}
/** Invocations that share a row. */
const LANES = 16u;
const MINUS_INF_KEY = 0x007fffffu;
/** Key of a row with NaN or +inf. */
const BAD = 0xffffffffu;

var<workgroup> keys: array<u32, INVOCATIONS>;
var<workgroup> sums: array<f32, INVOCATIONS>;

fn float_of(key: u32) -> f32 {
  return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u));
}
fn checked_key(bits: u32) -> u32 { return select(key_of(bits), BAD, is_nan_or_plus_inf(bits)); }
fn quad_key(bits: vec4u) -> u32 {
  return max(
    max(checked_key(bits.x), checked_key(bits.y)),
    max(checked_key(bits.z), checked_key(bits.w)),
  );
}
/** exp(x - largest), also where the compiler knows of no infinities. */
fn weights(bits: vec4u, largest: f32) -> vec4f {
  let apart = max(bitcast<vec4f>(bits) - largest, vec4f(-200.0));
  return select(exp(apart), vec4f(), bits == vec4u(MINUS_INF_BITS));
}
fn total_of(values: vec4f) -> f32 { return (values.x + values.y) + (values.z + values.w); }

/** The largest key of the row, for each of its invocations. */
fn row_key(local: u32, mine: u32) -> u32 {
  keys[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { keys[local] = max(keys[local], keys[local + step]); }
    workgroupBarrier();
  }
  let key = keys[local - local % LANES];
  return key;
}
/** The sum over the row, for each of its invocations. */
fn row_sum(local: u32, mine: f32) -> f32 {
  sums[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { sums[local] += sums[local + step]; }
    workgroupBarrier();
  }
  let sum = sums[local - local % LANES];
  return sum;
}
/** The sum over the row of parts that are each relative to the largest key `mine` of an invocation, relative to `key`. */
fn joined_sum(local: u32, mine: u32, part: f32, key: u32) -> f32 {
  let is_part = key != BAD && mine != MINUS_INF_KEY;
  return row_sum(local, select(0.0, part * exp(max(float_of(mine) - float_of(key), -200.0)), is_part));
}
/** Sums that join the parts of a row's invocations, in front of the last step. */
const JOINS = 1u;

var<workgroup> pairs: array<vec2f, INVOCATIONS>;

/**
 * The sums over the row of two numbers, for each of its invocations, always in the same order. In two steps: each invocation
 * of the last one reads all sums of the one before, which costs fewer barriers than halving. Rows that are not `wanted` take
 * part in the barriers alone.
 */
fn row_pair(local: u32, mine: vec2f, wanted: bool) -> vec2f {
  let own = local % LANES;
  let first = local - own;
  var total = vec2f();
  pairs[local] = mine;
  workgroupBarrier();
  if (wanted) {
    for (var i = 0u; i < LANES; i++) { total += pairs[first + i]; }
  }
  workgroupBarrier();
  return total;
}
fn seen_from(row: u32) -> u32 {
  let outer = row / params.extents_2;
  return outer / params.extents_1 * params.strides_0 + outer % params.extents_1 * params.strides_1
    + row % params.extents_2 * params.strides_2;
}
fn load_quad(start: u32, seen: u32, j: u32, width: u32) -> vec4u {
  if (j >= width) { return vec4u(MINUS_INF_BITS); }
  return select(vec4u(MINUS_INF_BITS), scores[(start + j) / 4u], visible[(seen + j) / 4u] != vec4u());
}
fn store_quad(start: u32, j: u32, width: u32, quad: vec4f) {
  if (j < width) { out[(start + j) / 4u] = quad; }
}
/** z / 2 less the half of the row's largest z. Nothing that is -1 or less has a weight, as tau is at least -1. */
fn halves(bits: vec4u, largest: f32) -> vec4f {
  let below = max(0.5 * bitcast<vec4f>(bits) - largest, vec4f(-1.0));
  return select(below, vec4f(-1.0), bits == vec4u(MINUS_INF_BITS));
}
fn above(below: vec4f, tau: f32) -> vec4f { return max(below - tau, vec4f()); }
/** The sum and the sum of the squares. */
fn terms(part: vec4f) -> vec2f { return vec2f(total_of(part), dot(part, part)); }
/** A row of all -inf gives zeros, one with NaN or +inf NaN throughout. */
fn result(below: vec4f, key: u32, tau: f32, squares: f32) -> vec4f {
  if (key == BAD) { return bitcast<vec4f>(vec4u(select(0x7fc00000u, 0u, key != BAD))); }
  if (key == MINUS_INF_KEY) { return vec4f(); }
  let part = above(below, tau);
  return part * part / squares;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = row * params.width;
  let seen = seen_from(row);
  let first = 4u * (local % LANES);
  let bits_0 = load_quad(start, seen, first + 0u * 4u * LANES, width);
  let bits_1 = load_quad(start, seen, first + 1u * 4u * LANES, width);
  let bits_2 = load_quad(start, seen, first + 2u * 4u * LANES, width);
  let bits_3 = load_quad(start, seen, first + 3u * 4u * LANES, width);
  let bits_4 = load_quad(start, seen, first + 4u * 4u * LANES, width);
  let bits_5 = load_quad(start, seen, first + 5u * 4u * LANES, width);
  let bits_6 = load_quad(start, seen, first + 6u * 4u * LANES, width);
  let bits_7 = load_quad(start, seen, first + 7u * 4u * LANES, width);
  let key = row_key(local, max(max(max(max(max(max(max(max(0u, quad_key(bits_0)), quad_key(bits_1)), quad_key(bits_2)), quad_key(bits_3)), quad_key(bits_4)), quad_key(bits_5)), quad_key(bits_6)), quad_key(bits_7)));
  var going = key != BAD && key != MINUS_INF_KEY;
  let largest = 0.5 * select(0.0, float_of(key), going);
  let below_0 = halves(bits_0, largest);
  let below_1 = halves(bits_1, largest);
  let below_2 = halves(bits_2, largest);
  let below_3 = halves(bits_3, largest);
  let below_4 = halves(bits_4, largest);
  let below_5 = halves(bits_5, largest);
  let below_6 = halves(bits_6, largest);
  let below_7 = halves(bits_7, largest);
  // Newton's steps from the left of the root; rounding ends them where tau no longer grows. The sums are those of tau.
  var tau = -1.0;
  var squares = 1.0;
  for (var step = 0u; step <= params.steps; step++) {
    var part = vec2f();
    if (going) {
      part += terms(above(below_0, tau));
      part += terms(above(below_1, tau));
      part += terms(above(below_2, tau));
      part += terms(above(below_3, tau));
      part += terms(above(below_4, tau));
      part += terms(above(below_5, tau));
      part += terms(above(below_6, tau));
      part += terms(above(below_7, tau));
    }
    let sums = row_pair(local, part, going);
    if (going) {
      squares = sums.y;
      let length = sqrt(squares);
      let next = tau + (length - 1.0) * length / sums.x;
      going = step < params.steps && next > tau;
      if (going) { tau = next; }
    }
  }
  store_quad(start, first + 0u * 4u * LANES, width, result(below_0, key, tau, squares));
  store_quad(start, first + 1u * 4u * LANES, width, result(below_1, key, tau, squares));
  store_quad(start, first + 2u * 4u * LANES, width, result(below_2, key, tau, squares));
  store_quad(start, first + 3u * 4u * LANES, width, result(below_3, key, tau, squares));
  store_quad(start, first + 4u * 4u * LANES, width, result(below_4, key, tau, squares));
  store_quad(start, first + 5u * 4u * LANES, width, result(below_5, key, tau, squares));
  store_quad(start, first + 6u * 4u * LANES, width, result(below_6, key, tau, squares));
  store_quad(start, first + 7u * 4u * LANES, width, result(below_7, key, tau, squares));
}