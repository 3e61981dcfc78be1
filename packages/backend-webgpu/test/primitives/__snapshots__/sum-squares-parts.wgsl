struct Params { first_tensor: u32, first_0: u32, first_1: u32, size_0: u32, size_1: u32, each_0: u32, each_1: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> part_sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> parts: array<u32>;
@group(0) @binding(3) var<storage, read> x_0: array<f32>;
@group(0) @binding(4) var<storage, read> x_1: array<f32>;
const INVOCATIONS = 256u;

var<workgroup> joined: array<f32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  var which = 0u;
  var first = params.first_0;
  var size = params.size_0;
  var each = params.each_0;
  if (workgroup.x >= params.first_1) {
    which = 1u;
    first = params.first_1;
    size = params.size_1;
    each = params.each_1;
  }
  let part = workgroup.x - first;
  let begin = part * each;
  let end = min(size, begin + each);
  var sum = 0.0;
  switch which {
    case 0u: {
      for (var i = begin + local; i < end; i += INVOCATIONS) { sum += x_0[i] * x_0[i]; }
    }
    case 1u: {
      for (var i = begin + local; i < end; i += INVOCATIONS) { sum += x_1[i] * x_1[i]; }
    }
    default: {}
  }
  joined[local] = sum;
  workgroupBarrier();
  for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
    if (local < half) { joined[local] += joined[local + half]; }
    workgroupBarrier();
  }
  if (local > 0u) { return; }
  let tensor = params.first_tensor + which;
  part_sums[tensor * 256u + part] = joined[0];
  if (part == 0u) { parts[tensor] = (size + each - 1u) / each; }
}