struct Params { batch: u32, rows: u32, inner: u32, columns: u32, a_batch: u32, a_stride: u32, b_batch: u32, b_stride: u32, out_batch: u32, out_stride: u32, terms: u32, b_factor: f32, a_base: u32, b_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec2u>;
@group(0) @binding(2) var<storage, read> b: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec2u>;
const INVOCATIONS = 256u;
var<workgroup> parts: array<array<vec4f, INVOCATIONS>, 1>;

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
fn fetch_a(start: u32, line: u32, place: u32) -> vec4f {
  let inside = line < params.rows && place < params.inner;
  let found = a[select(0u, (start + line * params.a_stride + place) / 4u, inside)];
  return select(vec4f(), vec4f(unpack2x16float(found.x), unpack2x16float(found.y)), inside);
}
fn fetch_b(start: u32, line: u32, place: u32) -> vec4f {
  let inside = line < params.inner && place < params.columns;
  let found = b[select(0u, (start + line * params.b_stride + place) / 4u, inside)];
  return select(vec4f(), vec4f(unpack2x16float(found.x), unpack2x16float(found.y)), inside);
}
fn packed(four: vec4f) -> vec2u {
  return vec2u(half_of(four.x) | (half_of(four.y) << 16u), half_of(four.z) | (half_of(four.w) << 16u));
}
fn put(start: u32, row: u32, column: u32, sums: vec4f) {
  if (row >= params.rows || column >= params.columns) { return; }
  let at = start + row * params.out_stride + column;
  out[at / 4u] = packed(sums);
}
fn put_sums(start: u32, row: u32, origin: u32, lane: u32, sums: vec4f) { put(start, row, origin + 4u * lane, sums); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let blocks = (params.columns + 31u) / 32u;
  let index = workgroup.x + workgroup.y * groups.x;
  let part = index / (blocks * params.batch);
  let first = part * params.terms;
  if (first >= params.inner) { return; }
  let matrix = index / blocks % params.batch;
  let origin = index % blocks * 32u;
  let a_start = params.a_base + matrix * params.a_batch;
  let b_start = params.b_base + matrix * params.b_batch;
  let end = min(first + params.terms, params.inner);
  let lane = local % 8u; let depth = local / 8u;
  var sum_0: vec4f;
  for (var term = first + 4u * depth; term < end; term += 128u) {
    let b0 = fetch_b(b_start, term + 0u, origin + 4u * lane); let b1 = fetch_b(b_start, term + 1u, origin + 4u * lane); let b2 = fetch_b(b_start, term + 2u, origin + 4u * lane); let b3 = fetch_b(b_start, term + 3u, origin + 4u * lane);
    let a_0 = fetch_a(a_start, 0u, term);
    sum_0 = fma(vec4f(a_0.x), b0, fma(vec4f(a_0.y), b1, fma(vec4f(a_0.z), b2, fma(vec4f(a_0.w), b3, sum_0))));
  }
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  
  parts[0u][local] = sum_0;
  workgroupBarrier();
  for (var slot = local; slot < 8u; slot += INVOCATIONS) {
    let row = slot / 8u;
    let lane_out = slot % 8u;
    var sums = vec4f();
    for (var i = 0u; i < 32u; i++) { sums += parts[row][i * 8u + lane_out]; }
    put_sums(out_start, 0u + row, origin, lane_out, sums);
  }
}