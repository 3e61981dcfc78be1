struct Params { batch: u32, rows: u32, inner: u32, columns: u32, a_batch: u32, a_stride: u32, b_batch: u32, b_stride: u32, out_batch: u32, out_stride: u32, terms: u32, b_factor: f32, a_base: u32, b_base: u32, out_base: u32, bias_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> preactivations: array<f32>;
const INVOCATIONS = 256u;
var<workgroup> parts: array<array<vec4f, INVOCATIONS>, 4>;

fn fetch_a(start: u32, line: u32, place: u32) -> vec4f {
  let inside = line < params.rows && place < params.inner;
  let found = a[select(0u, (start + line * params.a_stride + place) / 4u, inside)];
  return select(vec4f(), found, inside);
}
fn fetch_b(start: u32, line: u32, place: u32) -> vec4f {
  let inside = line < params.columns && place < params.inner;
  let found = b[select(0u, (start + line * params.b_stride + place) / 4u, inside)];
  return select(vec4f(), found, inside);
}

fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-max(x, -88.0))); }
fn activated(x: f32) -> f32 { return x * sigmoid(x); }
fn slope(x: f32) -> f32 {
  let s = sigmoid(x);
  return s * (1.0 + x * (1.0 - s));
}
fn finished(at: u32, column: u32, sums: f32) -> f32 {
  let values = sums + bias[(params.bias_base + column)];
  preactivations[at] = values;
  return activated(values);
}
fn put_sums(start: u32, row: u32, origin: u32, lane: u32, sums: vec4f) {
  if (row >= params.rows) { return; }
  for (var i = 0u; i < 4u; i++) {
    let column = origin + lane + i * 8u;
    let at = start + row * params.out_stride + column;
    if (column < params.columns) { out[at] = finished(at, column, sums[i]); }
  }
}

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
  let lane = local / 32u; let depth = local % 32u;
  var sum_0: vec4f; var sum_1: vec4f; var sum_2: vec4f; var sum_3: vec4f; var sum_4: vec4f; var sum_5: vec4f; var sum_6: vec4f; var sum_7: vec4f;
  for (var term = first + 4u * depth; term < end; term += 128u) {
    let b0 = fetch_b(b_start, origin + lane + 0u, term); let b1 = fetch_b(b_start, origin + lane + 8u, term); let b2 = fetch_b(b_start, origin + lane + 16u, term); let b3 = fetch_b(b_start, origin + lane + 24u, term);
    let a_0 = fetch_a(a_start, 0u, term); let a_1 = fetch_a(a_start, 1u, term); let a_2 = fetch_a(a_start, 2u, term); let a_3 = fetch_a(a_start, 3u, term); let a_4 = fetch_a(a_start, 4u, term); let a_5 = fetch_a(a_start, 5u, term); let a_6 = fetch_a(a_start, 6u, term); let a_7 = fetch_a(a_start, 7u, term);
    sum_0 += vec4f(dot(a_0, b0), dot(a_0, b1), dot(a_0, b2), dot(a_0, b3));
    sum_1 += vec4f(dot(a_1, b0), dot(a_1, b1), dot(a_1, b2), dot(a_1, b3));
    sum_2 += vec4f(dot(a_2, b0), dot(a_2, b1), dot(a_2, b2), dot(a_2, b3));
    sum_3 += vec4f(dot(a_3, b0), dot(a_3, b1), dot(a_3, b2), dot(a_3, b3));
    sum_4 += vec4f(dot(a_4, b0), dot(a_4, b1), dot(a_4, b2), dot(a_4, b3));
    sum_5 += vec4f(dot(a_5, b0), dot(a_5, b1), dot(a_5, b2), dot(a_5, b3));
    sum_6 += vec4f(dot(a_6, b0), dot(a_6, b1), dot(a_6, b2), dot(a_6, b3));
    sum_7 += vec4f(dot(a_7, b0), dot(a_7, b1), dot(a_7, b2), dot(a_7, b3));
  }
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  
  parts[0u][local] = sum_0; parts[1u][local] = sum_1; parts[2u][local] = sum_2; parts[3u][local] = sum_3;
  workgroupBarrier();
  for (var slot = local; slot < 32u; slot += INVOCATIONS) {
    let row = slot / 8u;
    let lane_out = slot % 8u;
    var sums = vec4f();
    for (var i = 0u; i < 32u; i++) { sums += parts[row][lane_out * 32u + i]; }
    put_sums(out_start, 0u + row, origin, lane_out, sums);
  }
  workgroupBarrier();
  parts[0u][local] = sum_4; parts[1u][local] = sum_5; parts[2u][local] = sum_6; parts[3u][local] = sum_7;
  workgroupBarrier();
  for (var slot = local; slot < 32u; slot += INVOCATIONS) {
    let row = slot / 8u;
    let lane_out = slot % 8u;
    var sums = vec4f();
    for (var i = 0u; i < 32u; i++) { sums += parts[row][lane_out * 32u + i]; }
    put_sums(out_start, 4u + row, origin, lane_out, sums);
  }
}