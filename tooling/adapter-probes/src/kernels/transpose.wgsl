// One invocation per element of the result. shape_and_steps holds, axis by axis, the extent of the result and the step
// in x that one along it takes.
@group(0) @binding(0) var<storage, read> shape_and_steps: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * 64u;
  if (at >= shape_and_steps[0]) { return; }
  var rest = at;
  var source = 0u;
  for (var axis = (arrayLength(&shape_and_steps) - 1u) / 2u; axis > 0u; axis--) {
    let extent = shape_and_steps[2u * axis - 1u];
    source += (rest % extent) * shape_and_steps[2u * axis];
    rest /= extent;
  }
  out[at] = x[source];
}
