struct Params { tensors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part_sums: array<f32>;
@group(0) @binding(2) var<storage, read> parts: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> norm: array<f32>;
const INVOCATIONS = 256u;
const LANES = 16u;
const SIDE_BY_SIDE = INVOCATIONS / LANES;
var<workgroup> joined: array<f32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(local_invocation_index) local: u32) {
  var total = 0.0;
  for (var first = 0u; first < params.tensors; first += SIDE_BY_SIDE) {
    let tensor = first + local / LANES;
    var sum = 0.0;
    if (tensor < params.tensors) {
      for (var part = local % LANES; part < parts[tensor]; part += LANES) {
        sum += part_sums[tensor * 256u + part];
      }
    }
    joined[local] = sum;
    workgroupBarrier();
    if (local % LANES == 0u && tensor < params.tensors) {
      for (var lane = 1u; lane < LANES; lane++) { sum += joined[local + lane]; }
      sums[tensor] = sum;
      total += sum;
    }
    workgroupBarrier();
  }
  joined[local] = total;
  workgroupBarrier();
  if (local > 0u) { return; }
  for (var other = LANES; other < INVOCATIONS; other += LANES) { total += joined[other]; }
  norm[0] = sqrt(total);
}