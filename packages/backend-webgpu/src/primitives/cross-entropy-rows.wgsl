const LANES = ${lanes}u;
/** Rows of a workgroup. */
const ROWS = INVOCATIONS / LANES;
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

/** The largest key of a row, for each of its invocations. */
fn row_key(local: u32, mine: u32) -> u32 {
  keys[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { keys[local] = max(keys[local], keys[local + step]); }
    workgroupBarrier();
  }
  let key = keys[local - local % LANES];
  workgroupBarrier();
  return key;
}
/** The sum over the invocations of a row, for each of them. */
fn row_sum(local: u32, mine: f32) -> f32 {
  sums[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { sums[local] += sums[local + step]; }
    workgroupBarrier();
  }
  let sum = sums[local - local % LANES];
  workgroupBarrier();
  return sum;
}

/** Bits of a row's loss, in its first invocation; writes the row's statistics. A running maximum needs a single pass. */
fn row_loss(row: u32, local: u32) -> u32 {
  var label = -1;
  if (row < params.rows) { label = targets[row]; }
  // Nothing is read of a row that is left out.
  let width = select(0u, params.classes, label != -1);
  let start = row * params.classes;
  var mine = MINUS_INF_KEY;
  var part = 0.0;
  var total = 0.0;
  for (var j = 4u * (local % LANES); j < width; j += 4u * LANES) {
    let bits = load_quad(start, j, width);
#if is_smooth
    total += total_of(select(vec4f(), bitcast<vec4f>(bits), vec4u(j, j + 1u, j + 2u, j + 3u) < vec4u(width)));
#endif
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
#if is_smooth
  let mean = row_sum(local, total) / f32(params.classes);
#endif
  if (local % LANES != 0u || row >= params.rows) { return 0u; }
  if (label == -1) {
    statistics[row] = vec2u();
    return 0u;
  }
  if (key == BAD || key == MINUS_INF_KEY) {
    statistics[row] = vec2u(NAN_BITS);
    return NAN_BITS;
  }
  let log_sum = log(sum);
  statistics[row] = bitcast<vec2u>(vec2f(largest, log_sum));
  if (label < 0 || u32(label) >= params.classes) { return NAN_BITS; }
  let picked = bitcast<f32>(load_one(start + u32(label))) - largest;
#if is_smooth
  let likely = picked * (1.0 - params.smoothing) + (mean - largest) * params.smoothing;
#else
  let likely = picked;
#endif
  return bitcast<u32>(log_sum - likely);
}
