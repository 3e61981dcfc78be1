enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
struct Params { batch: u32, rows: u32, inner: u32, columns: u32, a_batch: u32, a_stride: u32, b_batch: u32, b_stride: u32, out_batch: u32, out_stride: u32, terms: u32, b_factor: f32, a_base: u32, b_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4u>;
@group(0) @binding(2) var<storage, read> b: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec2u>;
const INVOCATIONS = 64u;
var<workgroup> a_tile: array<f16, 2048>;
var<workgroup> b_tile: array<f16, 2048>;
var<workgroup> staged: array<f32, 512>;

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
fn packed(four: vec4f) -> vec2u {
  return vec2u(half_of(four.x) | (half_of(four.y) << 16u), half_of(four.z) | (half_of(four.w) << 16u));
}
fn put(start: u32, row: u32, column: u32, sums: vec4f) {
  if (row >= params.rows || column >= params.columns) { return; }
  let at = start + row * params.out_stride + column;
  out[at / 4u] = packed(sums);
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
  let subgroup = local / 32u;
  let down = subgroup / 2u;
  let across = subgroup % 2u;
  var sum_0_0 = subgroup_matrix_result<f32, 16, 16>(); var sum_0_1 = subgroup_matrix_result<f32, 16, 16>();
  var sum_1_0 = subgroup_matrix_result<f32, 16, 16>(); var sum_1_1 = subgroup_matrix_result<f32, 16, 16>();
  var sum_2_0 = subgroup_matrix_result<f32, 16, 16>(); var sum_2_1 = subgroup_matrix_result<f32, 16, 16>();
  var sum_3_0 = subgroup_matrix_result<f32, 16, 16>(); var sum_3_1 = subgroup_matrix_result<f32, 16, 16>();
  let a_line_0 = (local + 0u) / 4u; let a_place_0 = (local + 0u) % 4u * 8u;
  var a_at_0 = (a_start + (tile_row + a_line_0) * params.a_stride + first + a_place_0) / 8u;
  let a_line_1 = (local + 64u) / 4u; let a_place_1 = (local + 64u) % 4u * 8u;
  var a_at_1 = (a_start + (tile_row + a_line_1) * params.a_stride + first + a_place_1) / 8u;
  let a_line_2 = (local + 128u) / 4u; let a_place_2 = (local + 128u) % 4u * 8u;
  var a_at_2 = (a_start + (tile_row + a_line_2) * params.a_stride + first + a_place_2) / 8u;
  let a_line_3 = (local + 192u) / 4u; let a_place_3 = (local + 192u) % 4u * 8u;
  var a_at_3 = (a_start + (tile_row + a_line_3) * params.a_stride + first + a_place_3) / 8u;
  let a_step = 4u;
  var a_0: vec4u; var a_1: vec4u; var a_2: vec4u; var a_3: vec4u;
  let b_line_0 = (local + 0u) / 8u; let b_place_0 = (local + 0u) % 8u * 8u;
  var b_at_0 = (b_start + (first + b_line_0) * params.b_stride + tile_column + b_place_0) / 8u;
  let b_line_1 = (local + 64u) / 8u; let b_place_1 = (local + 64u) % 8u * 8u;
  var b_at_1 = (b_start + (first + b_line_1) * params.b_stride + tile_column + b_place_1) / 8u;
  let b_line_2 = (local + 128u) / 8u; let b_place_2 = (local + 128u) % 8u * 8u;
  var b_at_2 = (b_start + (first + b_line_2) * params.b_stride + tile_column + b_place_2) / 8u;
  let b_line_3 = (local + 192u) / 8u; let b_place_3 = (local + 192u) % 8u * 8u;
  var b_at_3 = (b_start + (first + b_line_3) * params.b_stride + tile_column + b_place_3) / 8u;
  let b_step = 4u * params.b_stride;
  var b_0: vec4u; var b_1: vec4u; var b_2: vec4u; var b_3: vec4u;
  { let inside = tile_row + a_line_0 < params.rows && first + a_place_0 < end; a_0 = select(vec4u(), a[select(0u, a_at_0, inside)], inside); }
  { let inside = tile_row + a_line_1 < params.rows && first + a_place_1 < end; a_1 = select(vec4u(), a[select(0u, a_at_1, inside)], inside); }
  { let inside = tile_row + a_line_2 < params.rows && first + a_place_2 < end; a_2 = select(vec4u(), a[select(0u, a_at_2, inside)], inside); }
  { let inside = tile_row + a_line_3 < params.rows && first + a_place_3 < end; a_3 = select(vec4u(), a[select(0u, a_at_3, inside)], inside); }
  { let inside = tile_column + b_place_0 < params.columns && first + b_line_0 < end; b_0 = select(vec4u(), b[select(0u, b_at_0, inside)], inside); }
  { let inside = tile_column + b_place_1 < params.columns && first + b_line_1 < end; b_1 = select(vec4u(), b[select(0u, b_at_1, inside)], inside); }
  { let inside = tile_column + b_place_2 < params.columns && first + b_line_2 < end; b_2 = select(vec4u(), b[select(0u, b_at_2, inside)], inside); }
  { let inside = tile_column + b_place_3 < params.columns && first + b_line_3 < end; b_3 = select(vec4u(), b[select(0u, b_at_3, inside)], inside); }
  for (var term = first; term < end; term += 32u) {
    workgroupBarrier();
    { let to = (a_line_0 / 16u * 2u + a_place_0 / 16u) * 256u + a_line_0 % 16u * 16u + a_place_0 % 16u; let pair_0 = bitcast<vec2<f16>>(a_0.x); a_tile[to + 0u] = pair_0.x; a_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(a_0.y); a_tile[to + 2u] = pair_1.x; a_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(a_0.z); a_tile[to + 4u] = pair_2.x; a_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(a_0.w); a_tile[to + 6u] = pair_3.x; a_tile[to + 7u] = pair_3.y; }
    { let to = (a_line_1 / 16u * 2u + a_place_1 / 16u) * 256u + a_line_1 % 16u * 16u + a_place_1 % 16u; let pair_0 = bitcast<vec2<f16>>(a_1.x); a_tile[to + 0u] = pair_0.x; a_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(a_1.y); a_tile[to + 2u] = pair_1.x; a_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(a_1.z); a_tile[to + 4u] = pair_2.x; a_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(a_1.w); a_tile[to + 6u] = pair_3.x; a_tile[to + 7u] = pair_3.y; }
    { let to = (a_line_2 / 16u * 2u + a_place_2 / 16u) * 256u + a_line_2 % 16u * 16u + a_place_2 % 16u; let pair_0 = bitcast<vec2<f16>>(a_2.x); a_tile[to + 0u] = pair_0.x; a_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(a_2.y); a_tile[to + 2u] = pair_1.x; a_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(a_2.z); a_tile[to + 4u] = pair_2.x; a_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(a_2.w); a_tile[to + 6u] = pair_3.x; a_tile[to + 7u] = pair_3.y; }
    { let to = (a_line_3 / 16u * 2u + a_place_3 / 16u) * 256u + a_line_3 % 16u * 16u + a_place_3 % 16u; let pair_0 = bitcast<vec2<f16>>(a_3.x); a_tile[to + 0u] = pair_0.x; a_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(a_3.y); a_tile[to + 2u] = pair_1.x; a_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(a_3.z); a_tile[to + 4u] = pair_2.x; a_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(a_3.w); a_tile[to + 6u] = pair_3.x; a_tile[to + 7u] = pair_3.y; }
    { let to = (b_place_0 / 16u * 2u + b_line_0 / 16u) * 256u + b_line_0 % 16u * 16u + b_place_0 % 16u; let pair_0 = bitcast<vec2<f16>>(b_0.x); b_tile[to + 0u] = pair_0.x; b_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(b_0.y); b_tile[to + 2u] = pair_1.x; b_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(b_0.z); b_tile[to + 4u] = pair_2.x; b_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(b_0.w); b_tile[to + 6u] = pair_3.x; b_tile[to + 7u] = pair_3.y; }
    { let to = (b_place_1 / 16u * 2u + b_line_1 / 16u) * 256u + b_line_1 % 16u * 16u + b_place_1 % 16u; let pair_0 = bitcast<vec2<f16>>(b_1.x); b_tile[to + 0u] = pair_0.x; b_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(b_1.y); b_tile[to + 2u] = pair_1.x; b_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(b_1.z); b_tile[to + 4u] = pair_2.x; b_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(b_1.w); b_tile[to + 6u] = pair_3.x; b_tile[to + 7u] = pair_3.y; }
    { let to = (b_place_2 / 16u * 2u + b_line_2 / 16u) * 256u + b_line_2 % 16u * 16u + b_place_2 % 16u; let pair_0 = bitcast<vec2<f16>>(b_2.x); b_tile[to + 0u] = pair_0.x; b_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(b_2.y); b_tile[to + 2u] = pair_1.x; b_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(b_2.z); b_tile[to + 4u] = pair_2.x; b_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(b_2.w); b_tile[to + 6u] = pair_3.x; b_tile[to + 7u] = pair_3.y; }
    { let to = (b_place_3 / 16u * 2u + b_line_3 / 16u) * 256u + b_line_3 % 16u * 16u + b_place_3 % 16u; let pair_0 = bitcast<vec2<f16>>(b_3.x); b_tile[to + 0u] = pair_0.x; b_tile[to + 1u] = pair_0.y; let pair_1 = bitcast<vec2<f16>>(b_3.y); b_tile[to + 2u] = pair_1.x; b_tile[to + 3u] = pair_1.y; let pair_2 = bitcast<vec2<f16>>(b_3.z); b_tile[to + 4u] = pair_2.x; b_tile[to + 5u] = pair_2.y; let pair_3 = bitcast<vec2<f16>>(b_3.w); b_tile[to + 6u] = pair_3.x; b_tile[to + 7u] = pair_3.y; }
    workgroupBarrier();
    if (term + 32u < end) {
      a_at_0 += a_step; a_at_1 += a_step; a_at_2 += a_step; a_at_3 += a_step; { let inside = tile_row + a_line_0 < params.rows && term + 32u + a_place_0 < end; a_0 = select(vec4u(), a[select(0u, a_at_0, inside)], inside); }
  { let inside = tile_row + a_line_1 < params.rows && term + 32u + a_place_1 < end; a_1 = select(vec4u(), a[select(0u, a_at_1, inside)], inside); }
  { let inside = tile_row + a_line_2 < params.rows && term + 32u + a_place_2 < end; a_2 = select(vec4u(), a[select(0u, a_at_2, inside)], inside); }
  { let inside = tile_row + a_line_3 < params.rows && term + 32u + a_place_3 < end; a_3 = select(vec4u(), a[select(0u, a_at_3, inside)], inside); }
      b_at_0 += b_step; b_at_1 += b_step; b_at_2 += b_step; b_at_3 += b_step; { let inside = tile_column + b_place_0 < params.columns && term + 32u + b_line_0 < end; b_0 = select(vec4u(), b[select(0u, b_at_0, inside)], inside); }
  { let inside = tile_column + b_place_1 < params.columns && term + 32u + b_line_1 < end; b_1 = select(vec4u(), b[select(0u, b_at_1, inside)], inside); }
  { let inside = tile_column + b_place_2 < params.columns && term + 32u + b_line_2 < end; b_2 = select(vec4u(), b[select(0u, b_at_2, inside)], inside); }
  { let inside = tile_column + b_place_3 < params.columns && term + 32u + b_line_3 < end; b_3 = select(vec4u(), b[select(0u, b_at_3, inside)], inside); }
    }
    {
      let a0 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 0u) * 2u + 0u) * 256u, 16u);
      let a1 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 1u) * 2u + 0u) * 256u, 16u);
      let a2 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 2u) * 2u + 0u) * 256u, 16u);
      let a3 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 3u) * 2u + 0u) * 256u, 16u);
      let b0 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&b_tile, ((across * 2u + 0u) * 2u + 0u) * 256u, 16u);
      let b1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&b_tile, ((across * 2u + 1u) * 2u + 0u) * 256u, 16u);
      sum_0_0 = subgroupMatrixMultiplyAccumulate(a0, b0, sum_0_0);
      sum_1_0 = subgroupMatrixMultiplyAccumulate(a1, b0, sum_1_0);
      sum_2_0 = subgroupMatrixMultiplyAccumulate(a2, b0, sum_2_0);
      sum_3_0 = subgroupMatrixMultiplyAccumulate(a3, b0, sum_3_0);
      sum_0_1 = subgroupMatrixMultiplyAccumulate(a0, b1, sum_0_1);
      sum_1_1 = subgroupMatrixMultiplyAccumulate(a1, b1, sum_1_1);
      sum_2_1 = subgroupMatrixMultiplyAccumulate(a2, b1, sum_2_1);
      sum_3_1 = subgroupMatrixMultiplyAccumulate(a3, b1, sum_3_1);
    }
    {
      let a0 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 0u) * 2u + 1u) * 256u, 16u);
      let a1 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 1u) * 2u + 1u) * 256u, 16u);
      let a2 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 2u) * 2u + 1u) * 256u, 16u);
      let a3 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a_tile, ((down * 4u + 3u) * 2u + 1u) * 256u, 16u);
      let b0 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&b_tile, ((across * 2u + 0u) * 2u + 1u) * 256u, 16u);
      let b1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&b_tile, ((across * 2u + 1u) * 2u + 1u) * 256u, 16u);
      sum_0_0 = subgroupMatrixMultiplyAccumulate(a0, b0, sum_0_0);
      sum_1_0 = subgroupMatrixMultiplyAccumulate(a1, b0, sum_1_0);
      sum_2_0 = subgroupMatrixMultiplyAccumulate(a2, b0, sum_2_0);
      sum_3_0 = subgroupMatrixMultiplyAccumulate(a3, b0, sum_3_0);
      sum_0_1 = subgroupMatrixMultiplyAccumulate(a0, b1, sum_0_1);
      sum_1_1 = subgroupMatrixMultiplyAccumulate(a1, b1, sum_1_1);
      sum_2_1 = subgroupMatrixMultiplyAccumulate(a2, b1, sum_2_1);
      sum_3_1 = subgroupMatrixMultiplyAccumulate(a3, b1, sum_3_1);
    }
  }
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  let lane = local % 32u;
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_0_0, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 0u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 0u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_0_1, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 0u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 0u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_1_0, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 1u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 1u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_1_1, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 1u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 1u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_2_0, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 2u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 2u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_2_1, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 2u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 2u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_3_0, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 3u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 3u) * 16u + lane / 2u, tile_column + (across * 2u + 0u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum_3_1, 16u);
  workgroupBarrier();
  put(out_start, tile_row + (down * 4u + 3u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 0u, vec4f(staged[subgroup * 256u + lane * 8u + 0u], staged[subgroup * 256u + lane * 8u + 1u], staged[subgroup * 256u + lane * 8u + 2u], staged[subgroup * 256u + lane * 8u + 3u]));
  put(out_start, tile_row + (down * 4u + 3u) * 16u + lane / 2u, tile_column + (across * 2u + 1u) * 16u + lane % 2u * 8u + 4u, vec4f(staged[subgroup * 256u + lane * 8u + 4u], staged[subgroup * 256u + lane * 8u + 5u], staged[subgroup * 256u + lane * 8u + 6u], staged[subgroup * 256u + lane * 8u + 7u]));
  workgroupBarrier();
}