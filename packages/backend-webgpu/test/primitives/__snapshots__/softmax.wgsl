struct Params { rows: u32, width: u32, x_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4u>;
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
const LANES = 32u;
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

/** Bits of entries j to j + 3 as f32, -inf beyond the end. */
fn load_quad(start: u32, j: u32, width: u32) -> vec4u {
  if (j >= width) { return vec4u(MINUS_INF_BITS); }
  return x[(start + j) / 4u];
}
fn store_quad(to: u32, j: u32, width: u32, v: vec4f) {
  if (j < width) { out[(to + j) / 4u] = bitcast<vec4u>(v); }
}
/** A row of all -inf gives zeros, one with NaN or +inf NaN throughout. */
fn result(bits: vec4u, key: u32, largest: f32, sum: f32) -> vec4f {
  if (key == BAD) { return bitcast<vec4f>(vec4u(select(0x7fc00000u, 0u, key != BAD))); }
  if (key == MINUS_INF_KEY) { return vec4f(); }
  return weights(bits, largest) / sum;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = params.x_base + row * params.width;
  let to = params.out_base + row * params.width;
  let first = 4u * (local % LANES);
  let bits_0 = load_quad(start, first + 0u * 4u * LANES, width);
  let bits_1 = load_quad(start, first + 1u * 4u * LANES, width);
  let bits_2 = load_quad(start, first + 2u * 4u * LANES, width);
  let bits_3 = load_quad(start, first + 3u * 4u * LANES, width);
  let key = row_key(local, max(max(max(quad_key(bits_0), quad_key(bits_1)), quad_key(bits_2)), quad_key(bits_3)));
  let largest = float_of(key);
  let sum = row_sum(local, total_of(weights(bits_0, largest)) + total_of(weights(bits_1, largest)) + total_of(weights(bits_2, largest)) + total_of(weights(bits_3, largest)));
  store_quad(to, first + 0u * 4u * LANES, width, result(bits_0, key, largest, sum));
  store_quad(to, first + 1u * 4u * LANES, width, result(bits_1, key, largest, sum));
  store_quad(to, first + 2u * 4u * LANES, width, result(bits_2, key, largest, sum));
  store_quad(to, first + 3u * 4u * LANES, width, result(bits_3, key, largest, sum));
}