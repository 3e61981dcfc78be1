struct Params { rows: u32, width: u32, block: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> begins: array<u32>;
@group(0) @binding(2) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
const INVOCATIONS = 64u;
alias Sum = vec4<f32>;

fn put(at: u32, sum: Sum) { out[at] = sum; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  let row = at / params.width;
  let unit = at % params.width;
  if (row >= params.rows) { return; }
  let begin = begins[row];
  let end = begins[row + 1u];
  let first = begin / params.block;
  var sum = Sum();
  if (begin < end) {
    let last = (end - 1u) / params.block;
    if (first == last) { return; }
    sum = parts[(2u * first + 1u) * params.width + unit];
    for (var block = first + 1u; block <= last; block++) { sum += parts[2u * block * params.width + unit]; }
  }
  put(params.out_base + row * params.width + unit, sum);
}