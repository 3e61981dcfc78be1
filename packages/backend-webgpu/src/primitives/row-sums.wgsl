/** Invocations that share a row. */
const LANES = ${lanes}u;
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
#if is_repeated
  workgroupBarrier();
#endif
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
#if is_repeated
  workgroupBarrier();
#endif
  return sum;
}
/** The sum over the row of parts that are each relative to the largest key `mine` of an invocation, relative to `key`. */
fn joined_sum(local: u32, mine: u32, part: f32, key: u32) -> f32 {
  let is_part = key != BAD && mine != MINUS_INF_KEY;
  return row_sum(local, select(0.0, part * exp(max(float_of(mine) - float_of(key), -200.0)), is_part));
}
