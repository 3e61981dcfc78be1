struct Params { rows: u32, classes: u32, smoothing: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<u32>;
@group(0) @binding(2) var<storage, read> targets: array<i32>;
@group(0) @binding(3) var<storage, read_write> statistics: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> loss: array<u32>;
@group(0) @binding(5) var<storage, read_write> count: array<f32>;
const INVOCATIONS = 256u;
const NAN_BITS = 2143289344u;

const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}
/** Invocations that share a row. */
const LANES = 4u;
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
  workgroupBarrier();
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
  workgroupBarrier();
  return sum;
}
/** The sum over the row of parts that are each relative to the largest key `mine` of an invocation, relative to `key`. */
fn joined_sum(local: u32, mine: u32, part: f32, key: u32) -> f32 {
  let is_part = key != BAD && mine != MINUS_INF_KEY;
  return row_sum(local, select(0.0, part * exp(max(float_of(mine) - float_of(key), -200.0)), is_part));
}
fn load_quad(start: u32, j: u32, width: u32) -> vec4u {
  var bits = vec4u(MINUS_INF_BITS);
  if (j + 0u < width) { bits[0] = logits[start + j + 0u]; }
  if (j + 1u < width) { bits[1] = logits[start + j + 1u]; }
  if (j + 2u < width) { bits[2] = logits[start + j + 2u]; }
  if (j + 3u < width) { bits[3] = logits[start + j + 3u]; }
  return bits;
}
fn load_one(at: u32) -> u32 { return logits[at]; }
/** Rows of a workgroup. */
const ROWS = INVOCATIONS / LANES;

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
    total += total_of(select(vec4f(), bitcast<vec4f>(bits), vec4u(j, j + 1u, j + 2u, j + 3u) < vec4u(width)));
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
  let sum = joined_sum(local, mine, part, key);
  let mean = row_sum(local, total) / f32(params.classes);
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
  let likely = picked * (1.0 - params.smoothing) + (mean - largest) * params.smoothing;
  return bitcast<u32>(log_sum - likely);
}var<workgroup> losses_of: array<f32, INVOCATIONS>;
var<workgroup> counts_of: array<u32, INVOCATIONS>;

/** The mean over the rows that count, from a sum and a count of each invocation. */
fn finish(local: u32, sum: f32, counted: u32) {
  losses_of[local] = sum;
  counts_of[local] = counted;
  workgroupBarrier();
  for (var step = INVOCATIONS / 2u; step > 0u; step >>= 1u) {
    if (local < step) {
      losses_of[local] += losses_of[local + step];
      counts_of[local] += counts_of[local + step];
    }
    workgroupBarrier();
  }
  if (local > 0u) { return; }
  let number = f32(counts_of[0]);
  loss[0] = select(bitcast<u32>(losses_of[0] / number), NAN_BITS, counts_of[0] == 0u);
  count[0] = number;
}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  var sum = 0.0;
  var counted = 0u;
  for (var first = 0u; first < params.rows; first += ROWS) {
    let row = first + local / LANES;
    sum += bitcast<f32>(row_loss(row, local));
    if (local % LANES == 0u && row < params.rows) { counted += u32(targets[row] != -1); }
  }
  finish(local, sum, counted);
}