struct Params { tokens: u32, k: u32, columns: u32, blocks: u32, slabs: u32, nan_bits: u32, rows_base: u32, indices_base: u32, weights_base: u32, counts_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4f>;
@group(0) @binding(2) var<storage, read> indices: array<vec4i>;
@group(0) @binding(3) var<storage, read> weights: array<vec4f>;
@group(0) @binding(4) var<storage, read> counts: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
const INVOCATIONS = 256u;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = group.x + group.y * groups.x;
  let token = (id % params.blocks) * (INVOCATIONS / 16u) + t / 16u;
  let column = ((id / params.blocks) * 16u + t % 16u) * 4u;
  if (id >= params.blocks * params.slabs || token >= params.tokens || column >= params.columns) { return; }
  let counted = counts[params.counts_base + token];
  let is_nan_row = counted == 0xffffffffu;
  let count = select(counted, 0u, is_nan_row);
  let list = token * params.k;
  var slot = 0u;
  let stride = params.columns / 4u;
  let rows_at = (params.rows_base + column) / 4u;
  let out_at = (params.out_base + column) / 4u;
  var sum = vec4f();
  for (; slot + 8u <= count; slot += 8u) {
    let index_at = params.indices_base + list + slot;
    let weight_at = params.weights_base + list + slot;
    let i0 = indices[index_at / 4u + 0u]; let w0 = weights[weight_at / 4u + 0u];
let i1 = indices[index_at / 4u + 1u]; let w1 = weights[weight_at / 4u + 1u];
let r0_0 = rows[rows_at + u32(i0[0]) * stride]; let r0_1 = rows[rows_at + u32(i0[1]) * stride]; let r0_2 = rows[rows_at + u32(i0[2]) * stride]; let r0_3 = rows[rows_at + u32(i0[3]) * stride];
let r1_0 = rows[rows_at + u32(i1[0]) * stride]; let r1_1 = rows[rows_at + u32(i1[1]) * stride]; let r1_2 = rows[rows_at + u32(i1[2]) * stride]; let r1_3 = rows[rows_at + u32(i1[3]) * stride];
sum = fma(vec4f(w0[0]), r0_0, sum); sum = fma(vec4f(w0[1]), r0_1, sum); sum = fma(vec4f(w0[2]), r0_2, sum); sum = fma(vec4f(w0[3]), r0_3, sum);
sum = fma(vec4f(w1[0]), r1_0, sum); sum = fma(vec4f(w1[1]), r1_1, sum); sum = fma(vec4f(w1[2]), r1_2, sum); sum = fma(vec4f(w1[3]), r1_3, sum);
  }
  for (; slot < count; slot++) {
    sum = fma(vec4f(weights[(params.weights_base + list + slot) / 4u][(params.weights_base + list + slot) % 4u]), rows[rows_at + u32(indices[(params.indices_base + list + slot) / 4u][(params.indices_base + list + slot) % 4u]) * stride], sum);
  }
  if (is_nan_row) { sum = vec4f(bitcast<f32>(params.nan_bits)); }
  let place = out_at + token * stride;
  out[place] = sum;
}