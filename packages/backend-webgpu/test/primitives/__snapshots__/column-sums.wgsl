struct Params { parts: u32, width: u32, totals_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part_sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> totals: array<f32>;
const INVOCATIONS = 256u;

fn put(column: u32, value: f32) {
  totals[params.totals_base + column] = value;
}
const COLUMNS = 16u;
var<workgroup> joined: array<f32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
) {
  let first = (workgroup.x + workgroup.y * groups.x) * COLUMNS;
  let column = first + local % COLUMNS;
  var sum = 0.0;
  if (column < params.width) {
    for (var part = local / COLUMNS; part < params.parts; part += 16u) {
      sum += part_sums[part * params.width + column];
    }
  }
  joined[local] = sum;
  workgroupBarrier();
  if (local >= COLUMNS || column >= params.width) { return; }
  for (var other = 1u; other < 16u; other++) { sum += joined[local + other * COLUMNS]; }
  put(column, sum);
}