enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
struct Params { rows: u32, columns: u32, blocks: u32, row_tiles: u32, tiles: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f16>;
@group(0) @binding(2) var<storage, read> b: array<f16>;
@group(0) @binding(3) var<storage, read> a_scales: array<f32>;
@group(0) @binding(4) var<storage, read> b_scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
const INVOCATIONS = 128u;
var<workgroup> staged: array<f32, 1024>;

fn write_block(t: u32, row0: u32, column0: u32) {
  let lane = t % 32u;
  let column = column0 + lane % 16u;
  for (var i = 0u; i < 8u; i++) {
    let row = row0 + 2u * i + lane / 16u;
    if (row < params.rows && column < params.columns) {
      let value = staged[(t / 32u) * 256u + 32u * i + lane] * a_scales[row] * b_scales[column];
      out[params.out_base + row * params.columns + column] = value;
    }
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let tile = group.x + group.y * groups.x;
  if (tile >= params.tiles) { return; }
  let subgroup = t / 32u;
  let row_block = (tile % params.row_tiles) * 8u + (subgroup / 2u) * 4u;
  let column_block = (tile / params.row_tiles) * 4u + (subgroup % 2u) * 2u;
  var sum0_0 = subgroup_matrix_result<f32, 16, 16>(); var sum0_1 = subgroup_matrix_result<f32, 16, 16>();
  var sum1_0 = subgroup_matrix_result<f32, 16, 16>(); var sum1_1 = subgroup_matrix_result<f32, 16, 16>();
  var sum2_0 = subgroup_matrix_result<f32, 16, 16>(); var sum2_1 = subgroup_matrix_result<f32, 16, 16>();
  var sum3_0 = subgroup_matrix_result<f32, 16, 16>(); var sum3_1 = subgroup_matrix_result<f32, 16, 16>();
  for (var k = 0u; k < params.blocks; k++) {
    let a_hi0 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a, ((row_block + 0u) * params.blocks + k) * 512u, 16u);
    let a_hi1 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a, ((row_block + 1u) * params.blocks + k) * 512u, 16u);
    let a_hi2 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a, ((row_block + 2u) * params.blocks + k) * 512u, 16u);
    let a_hi3 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a, ((row_block + 3u) * params.blocks + k) * 512u, 16u);
    let b_hi0 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&b, ((column_block + 0u) * params.blocks + k) * 512u, 16u);
    let b_hi1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&b, ((column_block + 1u) * params.blocks + k) * 512u, 16u);
    sum0_0 = subgroupMatrixMultiplyAccumulate(a_hi0, b_hi0, sum0_0);
    sum1_0 = subgroupMatrixMultiplyAccumulate(a_hi1, b_hi0, sum1_0);
    sum2_0 = subgroupMatrixMultiplyAccumulate(a_hi2, b_hi0, sum2_0);
    sum3_0 = subgroupMatrixMultiplyAccumulate(a_hi3, b_hi0, sum3_0);
    sum0_1 = subgroupMatrixMultiplyAccumulate(a_hi0, b_hi1, sum0_1);
    sum1_1 = subgroupMatrixMultiplyAccumulate(a_hi1, b_hi1, sum1_1);
    sum2_1 = subgroupMatrixMultiplyAccumulate(a_hi2, b_hi1, sum2_1);
    sum3_1 = subgroupMatrixMultiplyAccumulate(a_hi3, b_hi1, sum3_1);
  }
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum0_0, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 0u) * 16u, (column_block + 0u) * 16u);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum0_1, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 0u) * 16u, (column_block + 1u) * 16u);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum1_0, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 1u) * 16u, (column_block + 0u) * 16u);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum1_1, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 1u) * 16u, (column_block + 1u) * 16u);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum2_0, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 2u) * 16u, (column_block + 0u) * 16u);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum2_1, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 2u) * 16u, (column_block + 1u) * 16u);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum3_0, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 3u) * 16u, (column_block + 0u) * 16u);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum3_1, 16u);
  workgroupBarrier();
  write_block(t, (row_block + 3u) * 16u, (column_block + 1u) * 16u);
  workgroupBarrier();
}