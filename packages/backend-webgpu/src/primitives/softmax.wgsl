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

/** The largest key of the row. */
fn row_key(local: u32, mine: u32) -> u32 {
  keys[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { keys[local] = max(keys[local], keys[local + step]); }
    workgroupBarrier();
  }
  return keys[local - local % LANES];
}
/** The sum over the row. */
fn row_sum(local: u32, mine: f32) -> f32 {
  sums[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { sums[local] += sums[local + step]; }
    workgroupBarrier();
  }
  return sums[local - local % LANES];
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
#if is_held
  ${held_row}
#else
  var mine = MINUS_INF_KEY;
  var part = 0.0;
  for (var j = first; j < width; j += 4u * LANES) {
    let bits = load_quad(start, j, width);
    let larger = max(mine, quad_key(bits));
    if (larger == BAD || larger == MINUS_INF_KEY) { mine = larger; continue; }
    if (larger > mine) {
      part *= select(exp(max(float_of(mine) - float_of(larger), -200.0)), 0.0, mine == MINUS_INF_KEY);
      mine = larger;
    }
    part += total_of(weights(bits, float_of(mine)));
  }
  let key = row_key(local, mine);
  let largest = float_of(key);
  let is_part = key != BAD && mine != MINUS_INF_KEY;
  let sum = row_sum(local, select(0.0, part * exp(max(float_of(mine) - largest, -200.0)), is_part));
  for (var j = first; j < width; j += 4u * LANES) {
    store_quad(to, j, width, result(load_quad(start, j, width), key, largest, sum));
  }
#endif
}
