struct Params { rows: u32, width: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;
const INVOCATIONS = 256u;
alias Unit = vec2f;
const UNIT = 2u;
fn total_of(value: Unit) -> f32 { return value.x + value.y; }

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

fn half_to_bits(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) { return sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u); }
  if (magnitude < 0x400u) { return sign | bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8); }
  return sign | ((magnitude << 13u) + 0x38000000u);
}
fn get_x(at: u32) -> Unit {
  let word = x[at];
  return vec2f(bitcast<f32>(half_to_bits(word & 0xffffu)), bitcast<f32>(half_to_bits(word >> 16u)));
}
fn get_weight(at: u32) -> Unit {
  let word = weight[at];
  return vec2f(bitcast<f32>(half_to_bits(word & 0xffffu)), bitcast<f32>(half_to_bits(word >> 16u)));
}
fn get_bias(at: u32) -> Unit {
  let word = bias[at];
  return vec2f(bitcast<f32>(half_to_bits(word & 0xffffu)), bitcast<f32>(half_to_bits(word >> 16u)));
}
fn put(value: Unit) -> u32 { return halves_of(value.x, value.y); }
const LANES = 32u;
var<workgroup> sums: array<f32, INVOCATIONS>;

/** The sum over the invocations of a row, for each of them. */
fn row_sum(local: u32, value: f32) -> f32 {
  sums[local] = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    var pair = 0.0;
    if (local % LANES < half) { pair = sums[local] + sums[local + half]; }
    workgroupBarrier();
    if (local % LANES < half) { sums[local] = pair; }
    workgroupBarrier();
  }
  let total = sums[local - local % LANES];
  workgroupBarrier();
  return total;
}

struct Row { start: u32, end: u32, mean: f32, scale: f32 }

fn row_of(row: u32, local: u32) -> Row {
  let width = params.width / UNIT;
  // Rows beyond the last have no elements.
  let start = select(0u, row * width, row < params.rows);
  let end = select(0u, start + width, row < params.rows);
  let first = start + local % LANES;
  var mean = 0.0;
  var sum = 0.0;
  for (var at = first; at < end; at += LANES) { sum += total_of(get_x(at)); }
  mean = row_sum(local, sum) / f32(params.width);
  var squares = 0.0;
  for (var at = first; at < end; at += LANES) {
    let centred = get_x(at) - mean;
    squares += total_of(centred * centred);
  }
  let scale = inverseSqrt(row_sum(local, squares) / f32(params.width) + params.epsilon);
  return Row(first, end, mean, scale);
}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row_at = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let row = row_of(row_at, local);
  for (var at = row.start; at < row.end; at += LANES) {
    let column = at % (params.width / UNIT);
    let unit = (get_x(at) - row.mean) * row.scale;
    out[at] = put(unit * get_weight(column) + get_bias(column));
  }
}