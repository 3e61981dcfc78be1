struct Params { rows: u32, width: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const INVOCATIONS = 256u;
alias Unit = f32;
const UNIT = 1u;
fn total_of(value: Unit) -> f32 { return value; }

fn get_x(at: u32) -> Unit { return x[at]; }
fn get_weight(at: u32) -> Unit { return weight[at]; }
fn get_bias(at: u32) -> Unit { return bias[at]; }
fn put(value: Unit) -> f32 { return value; }
const LANES = 64u;
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