struct Params { batch: u32, rows: u32, inner: u32, columns: u32, a_batch: u32, a_stride: u32, b_batch: u32, b_stride: u32, out_batch: u32, out_stride: u32, terms: u32, a_base: u32, b_base: u32, out_base: u32, bias_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> preactivations: array<vec4f>;
const INVOCATIONS = 256u;
var<workgroup> a_tile: array<vec4f, 512>;
var<workgroup> b_tile: array<vec4f, 512>;

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
fn finished(at: u32, column: u32, sums: vec4f) -> vec4f {
  let values = sums + bias[(params.bias_base + column) / 4u];
  preactivations[(at) / 4u] = values;
  return vec4f(activated(values.x), activated(values.y), activated(values.z), activated(values.w));
}
fn put(start: u32, row: u32, column: u32, sums: vec4f) {
  if (row >= params.rows || column >= params.columns) { return; }
  let at = start + row * params.out_stride + column;
  out[at / 4u] = finished(at, column, sums);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let tiles_down = (params.rows + 63u) / 64u;
  let tiles_across = (params.columns + 63u) / 64u;
  let index = workgroup.x + workgroup.y * groups.x;
  let part = index / (tiles_down * tiles_across * params.batch);
  let first = part * params.terms;
  if (first >= params.inner) { return; }
  let end = min(first + params.terms, params.inner);
  let matrix = index / (tiles_down * tiles_across) % params.batch;
  let tile_row = index / tiles_across % tiles_down * 64u;
  let tile_column = index % tiles_across * 64u;
  let a_start = params.a_base + matrix * params.a_batch;
  let b_start = params.b_base + matrix * params.b_batch;
  let across = local % 8u + local / 32u % 2u * 8u;
  let down = local / 8u % 4u + local / 64u * 4u;
  var sum_0_0: vec4f;
  var sum_1_0: vec4f;
  var sum_2_0: vec4f;
  var sum_3_0: vec4f;
  var f0_0: vec4f; var f0_1: vec4f; var f0_2: vec4f; var f0_3: vec4f;
  var at_0: u32; var line_0: u32; var step_0: u32;
  if (local < 128u) { let quad = (local + 0u) % 8u; let group = (local + 0u) / 8u; at_0 = (a_start + (tile_row + 4u * group) * params.a_stride + first + 4u * quad) / 4u; line_0 = params.a_stride / 4u; step_0 = 8u; } else { let quad = (local - 128u) % 8u; let group = (local - 128u) / 8u; at_0 = (b_start + (tile_column + 4u * group) * params.b_stride + first + 4u * quad) / 4u; line_0 = params.b_stride / 4u; step_0 = 8u; }
  if (local < 128u) { f0_0 = a[at_0 + 0u * line_0]; f0_1 = a[at_0 + 1u * line_0]; f0_2 = a[at_0 + 2u * line_0]; f0_3 = a[at_0 + 3u * line_0]; at_0 += step_0; } else { f0_0 = b[at_0 + 0u * line_0]; f0_1 = b[at_0 + 1u * line_0]; f0_2 = b[at_0 + 2u * line_0]; f0_3 = b[at_0 + 3u * line_0]; at_0 += step_0; }
  for (var term = first; term < end; term += 32u) {
  workgroupBarrier();
  if (local < 128u) { let quad = (local + 0u) % 8u; let group = (local + 0u) / 8u; a_tile[(4u * quad + 0u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.x,f0_1.x,f0_2.x,f0_3.x); a_tile[(4u * quad + 1u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.y,f0_1.y,f0_2.y,f0_3.y); a_tile[(4u * quad + 2u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.z,f0_1.z,f0_2.z,f0_3.z); a_tile[(4u * quad + 3u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.w,f0_1.w,f0_2.w,f0_3.w); } else { let quad = (local - 128u) % 8u; let group = (local - 128u) / 8u; b_tile[(4u * quad + 0u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.x,f0_1.x,f0_2.x,f0_3.x); b_tile[(4u * quad + 1u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.y,f0_1.y,f0_2.y,f0_3.y); b_tile[(4u * quad + 2u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.z,f0_1.z,f0_2.z,f0_3.z); b_tile[(4u * quad + 3u) * 16u + (group + quad * 1u) % 16u] = vec4f(f0_0.w,f0_1.w,f0_2.w,f0_3.w); }
  workgroupBarrier();
  if (term + 32u < end) {
  if (local < 128u) { f0_0 = a[at_0 + 0u * line_0]; f0_1 = a[at_0 + 1u * line_0]; f0_2 = a[at_0 + 2u * line_0]; f0_3 = a[at_0 + 3u * line_0]; at_0 += step_0; } else { f0_0 = b[at_0 + 0u * line_0]; f0_1 = b[at_0 + 1u * line_0]; f0_2 = b[at_0 + 2u * line_0]; f0_3 = b[at_0 + 3u * line_0]; at_0 += step_0; }
  }
  for (var quad = 0u; quad < 8u; quad++) {
    {
    let a0 = a_tile[quad * 64u + 0u + (down + 0u + quad * 1u) % 16u]; let b0 = b_tile[quad * 64u + 0u + (across + 0u + quad * 1u) % 16u];
    sum_0_0 = fma(vec4f(a0.x), b0, sum_0_0);
    sum_1_0 = fma(vec4f(a0.y), b0, sum_1_0);
    sum_2_0 = fma(vec4f(a0.z), b0, sum_2_0);
    sum_3_0 = fma(vec4f(a0.w), b0, sum_3_0);
    }
    {
    let a0 = a_tile[quad * 64u + 16u + (down + 0u + quad * 1u) % 16u]; let b0 = b_tile[quad * 64u + 16u + (across + 0u + quad * 1u) % 16u];
    sum_0_0 = fma(vec4f(a0.x), b0, sum_0_0);
    sum_1_0 = fma(vec4f(a0.y), b0, sum_1_0);
    sum_2_0 = fma(vec4f(a0.z), b0, sum_2_0);
    sum_3_0 = fma(vec4f(a0.w), b0, sum_3_0);
    }
    {
    let a0 = a_tile[quad * 64u + 32u + (down + 0u + quad * 1u) % 16u]; let b0 = b_tile[quad * 64u + 32u + (across + 0u + quad * 1u) % 16u];
    sum_0_0 = fma(vec4f(a0.x), b0, sum_0_0);
    sum_1_0 = fma(vec4f(a0.y), b0, sum_1_0);
    sum_2_0 = fma(vec4f(a0.z), b0, sum_2_0);
    sum_3_0 = fma(vec4f(a0.w), b0, sum_3_0);
    }
    {
    let a0 = a_tile[quad * 64u + 48u + (down + 0u + quad * 1u) % 16u]; let b0 = b_tile[quad * 64u + 48u + (across + 0u + quad * 1u) % 16u];
    sum_0_0 = fma(vec4f(a0.x), b0, sum_0_0);
    sum_1_0 = fma(vec4f(a0.y), b0, sum_1_0);
    sum_2_0 = fma(vec4f(a0.z), b0, sum_2_0);
    sum_3_0 = fma(vec4f(a0.w), b0, sum_3_0);
    }
  }
  }
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  put(out_start, tile_row + 0u + 4u * down + 0u, tile_column + 0u + 4u * across, sum_0_0);
  put(out_start, tile_row + 0u + 4u * down + 1u, tile_column + 0u + 4u * across, sum_1_0);
  put(out_start, tile_row + 0u + 4u * down + 2u, tile_column + 0u + 4u * across, sum_2_0);
  put(out_start, tile_row + 0u + 4u * down + 3u, tile_column + 0u + 4u * across, sum_3_0);
}