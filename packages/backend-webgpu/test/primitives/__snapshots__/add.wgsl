struct Params { count: u32, extents_0: u32, extents_1: u32, a_steps_0: u32, a_steps_1: u32, b_steps_0: u32, b_steps_1: u32, a_base: u32, b_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;
const INVOCATIONS = 64u;

fn load_a(at: u32) -> u32 { return a[at]; }
fn load_b(at: u32) -> u32 { return b[at]; }

fn apply(a: u32, b: u32) -> u32 { let x = bitcast<f32>(a); let y = bitcast<f32>(b); return bitcast<u32>(x + y); }

fn element(index: u32) -> u32 {
  var rest = index;
  var step = 0u;
  var at_a = params.a_base;
  var at_b = params.b_base;
  step = rest % params.extents_1; at_a += step * params.a_steps_1; at_b += step * params.b_steps_1; rest /= params.extents_1;
  step = rest; at_a += step * params.a_steps_0; at_b += step * params.b_steps_0;
  let value = apply(load_a(at_a), load_b(at_b));
  return value;
}

fn word(at: u32) -> u32 { return element(at); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let count = params.count;
  let first = (workgroup.x + workgroup.y * groups.x) * 256u + local;
  if (first >= count) { return; }
  let value_0 = word(min(first + 0u, count - 1u));
  let value_1 = word(min(first + 64u, count - 1u));
  let value_2 = word(min(first + 128u, count - 1u));
  let value_3 = word(min(first + 192u, count - 1u));
  if (first + 0u < count) { out[params.out_base + first + 0u] = value_0; }
  if (first + 64u < count) { out[params.out_base + first + 64u] = value_1; }
  if (first + 128u < count) { out[params.out_base + first + 128u] = value_2; }
  if (first + 192u < count) { out[params.out_base + first + 192u] = value_3; }
}