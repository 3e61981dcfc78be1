struct Params { batch: u32, rows: u32, columns: u32, out_batch: u32, out_stride: u32, parts: u32, out_base: u32, operand_sums_out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(3) var<storage, read> operand_parts: array<f32>;
@group(0) @binding(4) var<storage, read_write> operand_sums_out: array<f32>;
const INVOCATIONS = 256u;
const LANES = 1u;
const PLACES = INVOCATIONS / LANES;


fn put(start: u32, row: u32, column: u32, sums: vec4f) {
  if (row >= params.rows || column >= params.columns) { return; }
  let at = start + row * params.out_stride + column;
  out[at / 4u] = sums;
}

fn part_at(at: u32, column: u32) -> vec4f {
  return parts[at / 4u];
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = (workgroup.x + workgroup.y * groups.x) * PLACES + local % PLACES;
  let quads = (params.columns + 3u) / 4u;
  let row = at / quads % params.rows;
  let matrix = at / quads / params.rows;
  let column = at % quads * 4u;
  var sums = vec4f();
  if (matrix < params.batch) {
    for (var part = local / PLACES; part < params.parts; part += LANES) {
      sums += part_at(((part * params.batch + matrix) * params.rows + row) * params.columns + column, column);
    }
  } else {
    let place = (at - params.batch * params.rows * quads) * 4u;
    for (var part = local / PLACES; part < params.parts; part += LANES) {
      for (var i = 0u; i < 4u && place + i < params.columns; i++) {
        sums[i] += operand_parts[part * params.columns + place + i];
      }
    }
  }
  
  if (matrix < params.batch) { put(params.out_base + matrix * params.out_batch, row, column, sums); }
  else { let place = (at - params.batch * params.rows * quads) * 4u;
      for (var i = 0u; i < 4u && place + i < params.columns; i++) {
        operand_sums_out[params.operand_sums_out_base + place + i] = sums[i];
      } }
}