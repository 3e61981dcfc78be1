enable subgroups;
diagnostic(off, subgroup_uniformity);

struct Params {
  rows: u32, rows_per_unit: u32, keys: u32, slots: u32,
  key_base: u32, value_base: u32, gradient_base: u32, index_base: u32,
  score_base: u32, result_base: u32, scale: f32, first_row: u32,
  query_length: u32, query_heads: u32, threshold: u32, kept_factor: f32,
  seed: vec2u,
}
@group(0) @binding(0) var<uniform> params: Params;

// 1 / (1 - rate) or 0, keyed by (seed, batch, head, query, slot); 1 without dropout.
fn dropout_factor(row: u32, slot: u32) -> f32 {
  return 1.0;
}

@group(0) @binding(1) var<storage, read> key: array<vec4f>;
fn load_key(at: u32) -> vec4f { return key[at]; }

@group(0) @binding(2) var<storage, read> value: array<vec4f>;
fn load_value(at: u32) -> vec4f { return value[at]; }

@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
fn load_gradient(at: u32) -> vec4f { return gradient[at]; }
@group(0) @binding(4) var<storage, read> indices: array<i32>;
@group(0) @binding(5) var<storage, read> scores: array<u32>;
@group(0) @binding(6) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> weights: array<vec2f>;
var<workgroup> shared_keys: array<u32, 128>;
var<workgroup> shared_gradients: array<f32, 128>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}
@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let first_key = (row / params.rows_per_unit) * params.keys;
  let first_slot = row * params.slots;
  let gradient0 = load_gradient(params.gradient_base + row * 16u + lane % 8u + 0u);
  let gradient1 = load_gradient(params.gradient_base + row * 16u + lane % 8u + 8u);
  var largest = -3.4e38;
  var is_bad = false;
  // A slot without a key takes the row's first one, whose rows are read in any case, with weight 0.
  let fallback = u32(max(indices[params.index_base + first_slot], 0));
  var key0 = fallback; var valid0 = false; var score0 = 0.0;
  if (lane + 0u < params.slots) {
    let index = indices[params.index_base + first_slot + 0u + lane];
    let bits = scores[params.score_base + first_slot + 0u + lane];
    is_bad = is_bad || is_nan_or_plus_inf(bits);
    valid0 = index >= 0;
    if (valid0) { key0 = u32(index); score0 = bitcast<f32>(bits); }
  }
  var key1 = fallback; var valid1 = false; var score1 = 0.0;
  if (lane + 32u < params.slots) {
    let index = indices[params.index_base + first_slot + 32u + lane];
    let bits = scores[params.score_base + first_slot + 32u + lane];
    is_bad = is_bad || is_nan_or_plus_inf(bits);
    valid1 = index >= 0;
    if (valid1) { key1 = u32(index); score1 = bitcast<f32>(bits); }
  }
  var key2 = fallback; var valid2 = false; var score2 = 0.0;
  if (lane + 64u < params.slots) {
    let index = indices[params.index_base + first_slot + 64u + lane];
    let bits = scores[params.score_base + first_slot + 64u + lane];
    is_bad = is_bad || is_nan_or_plus_inf(bits);
    valid2 = index >= 0;
    if (valid2) { key2 = u32(index); score2 = bitcast<f32>(bits); }
  }
  var key3 = fallback; var valid3 = false; var score3 = 0.0;
  if (lane + 96u < params.slots) {
    let index = indices[params.index_base + first_slot + 96u + lane];
    let bits = scores[params.score_base + first_slot + 96u + lane];
    is_bad = is_bad || is_nan_or_plus_inf(bits);
    valid3 = index >= 0;
    if (valid3) { key3 = u32(index); score3 = bitcast<f32>(bits); }
  }
  is_bad = subgroupAny(is_bad);
  let has_keys = subgroupAny(valid0);
  if (valid0 && !is_bad) { largest = max(largest, score0); }
  if (valid1 && !is_bad) { largest = max(largest, score1); }
  if (valid2 && !is_bad) { largest = max(largest, score2); }
  if (valid3 && !is_bad) { largest = max(largest, score3); }
  largest = subgroupMax(largest);
  var total = 0.0;
  let weight0 = select(0.0, exp(score0 - largest), valid0); total += weight0;
  let weight1 = select(0.0, exp(score1 - largest), valid1); total += weight1;
  let weight2 = select(0.0, exp(score2 - largest), valid2); total += weight2;
  let weight3 = select(0.0, exp(score3 - largest), valid3); total += weight3;
  let inverse = 1.0 / subgroupAdd(total);
  var mean = 0.0;
  var product0 = 0.0;
  {
  let at0 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 0u)) * 16u;
  let x0_0 = load_value(at0 + lane % 8u + 0u);
  let x0_1 = load_value(at0 + lane % 8u + 8u);
  let at1 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 1u)) * 16u;
  let x1_0 = load_value(at1 + lane % 8u + 0u);
  let x1_1 = load_value(at1 + lane % 8u + 8u);
  let at2 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 2u)) * 16u;
  let x2_0 = load_value(at2 + lane % 8u + 0u);
  let x2_1 = load_value(at2 + lane % 8u + 8u);
  let at3 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 3u)) * 16u;
  let x3_0 = load_value(at3 + lane % 8u + 0u);
  let x3_1 = load_value(at3 + lane % 8u + 8u);
  let at4 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 4u)) * 16u;
  let x4_0 = load_value(at4 + lane % 8u + 0u);
  let x4_1 = load_value(at4 + lane % 8u + 8u);
  let at5 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 5u)) * 16u;
  let x5_0 = load_value(at5 + lane % 8u + 0u);
  let x5_1 = load_value(at5 + lane % 8u + 8u);
  let at6 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 6u)) * 16u;
  let x6_0 = load_value(at6 + lane % 8u + 0u);
  let x6_1 = load_value(at6 + lane % 8u + 8u);
  let at7 = params.value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 7u)) * 16u;
  let x7_0 = load_value(at7 + lane % 8u + 0u);
  let x7_1 = load_value(at7 + lane % 8u + 8u);
  var sum0 = dot(gradient0, x0_0) + dot(gradient1, x0_1);
  var sum1 = dot(gradient0, x1_0) + dot(gradient1, x1_1);
  var sum2 = dot(gradient0, x2_0) + dot(gradient1, x2_1);
  var sum3 = dot(gradient0, x3_0) + dot(gradient1, x3_1);
  var sum4 = dot(gradient0, x4_0) + dot(gradient1, x4_1);
  var sum5 = dot(gradient0, x5_0) + dot(gradient1, x5_1);
  var sum6 = dot(gradient0, x6_0) + dot(gradient1, x6_1);
  var sum7 = dot(gradient0, x7_0) + dot(gradient1, x7_1);
  sum0 += subgroupShuffleXor(sum0, 1u);
  sum1 += subgroupShuffleXor(sum1, 1u);
  sum2 += subgroupShuffleXor(sum2, 1u);
  sum3 += subgroupShuffleXor(sum3, 1u);
  sum4 += subgroupShuffleXor(sum4, 1u);
  sum5 += subgroupShuffleXor(sum5, 1u);
  sum6 += subgroupShuffleXor(sum6, 1u);
  sum7 += subgroupShuffleXor(sum7, 1u);
  sum0 += subgroupShuffleXor(sum0, 2u);
  sum1 += subgroupShuffleXor(sum1, 2u);
  sum2 += subgroupShuffleXor(sum2, 2u);
  sum3 += subgroupShuffleXor(sum3, 2u);
  sum4 += subgroupShuffleXor(sum4, 2u);
  sum5 += subgroupShuffleXor(sum5, 2u);
  sum6 += subgroupShuffleXor(sum6, 2u);
  sum7 += subgroupShuffleXor(sum7, 2u);
  sum0 += subgroupShuffleXor(sum0, 4u);
  sum1 += subgroupShuffleXor(sum1, 4u);
  sum2 += subgroupShuffleXor(sum2, 4u);
  sum3 += subgroupShuffleXor(sum3, 4u);
  sum4 += subgroupShuffleXor(sum4, 4u);
  sum5 += subgroupShuffleXor(sum5, 4u);
  sum6 += subgroupShuffleXor(sum6, 4u);
  sum7 += subgroupShuffleXor(sum7, 4u);
  product0 = select(product0, sum0, lane % 8u == 0u);
  product0 = select(product0, sum1, lane % 8u == 1u);
  product0 = select(product0, sum2, lane % 8u == 2u);
  product0 = select(product0, sum3, lane % 8u == 3u);
  product0 = select(product0, sum4, lane % 8u == 4u);
  product0 = select(product0, sum5, lane % 8u == 5u);
  product0 = select(product0, sum6, lane % 8u == 6u);
  product0 = select(product0, sum7, lane % 8u == 7u);
  }
  let p0 = select(0.0, weight0 * inverse, valid0);
  
  product0 = select(0.0, product0, valid0);
  mean += p0 * product0;
  var product1 = 0.0;
  {
  let at0 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 0u)) * 16u;
  let x0_0 = load_value(at0 + lane % 8u + 0u);
  let x0_1 = load_value(at0 + lane % 8u + 8u);
  let at1 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 1u)) * 16u;
  let x1_0 = load_value(at1 + lane % 8u + 0u);
  let x1_1 = load_value(at1 + lane % 8u + 8u);
  let at2 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 2u)) * 16u;
  let x2_0 = load_value(at2 + lane % 8u + 0u);
  let x2_1 = load_value(at2 + lane % 8u + 8u);
  let at3 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 3u)) * 16u;
  let x3_0 = load_value(at3 + lane % 8u + 0u);
  let x3_1 = load_value(at3 + lane % 8u + 8u);
  let at4 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 4u)) * 16u;
  let x4_0 = load_value(at4 + lane % 8u + 0u);
  let x4_1 = load_value(at4 + lane % 8u + 8u);
  let at5 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 5u)) * 16u;
  let x5_0 = load_value(at5 + lane % 8u + 0u);
  let x5_1 = load_value(at5 + lane % 8u + 8u);
  let at6 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 6u)) * 16u;
  let x6_0 = load_value(at6 + lane % 8u + 0u);
  let x6_1 = load_value(at6 + lane % 8u + 8u);
  let at7 = params.value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 7u)) * 16u;
  let x7_0 = load_value(at7 + lane % 8u + 0u);
  let x7_1 = load_value(at7 + lane % 8u + 8u);
  var sum0 = dot(gradient0, x0_0) + dot(gradient1, x0_1);
  var sum1 = dot(gradient0, x1_0) + dot(gradient1, x1_1);
  var sum2 = dot(gradient0, x2_0) + dot(gradient1, x2_1);
  var sum3 = dot(gradient0, x3_0) + dot(gradient1, x3_1);
  var sum4 = dot(gradient0, x4_0) + dot(gradient1, x4_1);
  var sum5 = dot(gradient0, x5_0) + dot(gradient1, x5_1);
  var sum6 = dot(gradient0, x6_0) + dot(gradient1, x6_1);
  var sum7 = dot(gradient0, x7_0) + dot(gradient1, x7_1);
  sum0 += subgroupShuffleXor(sum0, 1u);
  sum1 += subgroupShuffleXor(sum1, 1u);
  sum2 += subgroupShuffleXor(sum2, 1u);
  sum3 += subgroupShuffleXor(sum3, 1u);
  sum4 += subgroupShuffleXor(sum4, 1u);
  sum5 += subgroupShuffleXor(sum5, 1u);
  sum6 += subgroupShuffleXor(sum6, 1u);
  sum7 += subgroupShuffleXor(sum7, 1u);
  sum0 += subgroupShuffleXor(sum0, 2u);
  sum1 += subgroupShuffleXor(sum1, 2u);
  sum2 += subgroupShuffleXor(sum2, 2u);
  sum3 += subgroupShuffleXor(sum3, 2u);
  sum4 += subgroupShuffleXor(sum4, 2u);
  sum5 += subgroupShuffleXor(sum5, 2u);
  sum6 += subgroupShuffleXor(sum6, 2u);
  sum7 += subgroupShuffleXor(sum7, 2u);
  sum0 += subgroupShuffleXor(sum0, 4u);
  sum1 += subgroupShuffleXor(sum1, 4u);
  sum2 += subgroupShuffleXor(sum2, 4u);
  sum3 += subgroupShuffleXor(sum3, 4u);
  sum4 += subgroupShuffleXor(sum4, 4u);
  sum5 += subgroupShuffleXor(sum5, 4u);
  sum6 += subgroupShuffleXor(sum6, 4u);
  sum7 += subgroupShuffleXor(sum7, 4u);
  product1 = select(product1, sum0, lane % 8u == 0u);
  product1 = select(product1, sum1, lane % 8u == 1u);
  product1 = select(product1, sum2, lane % 8u == 2u);
  product1 = select(product1, sum3, lane % 8u == 3u);
  product1 = select(product1, sum4, lane % 8u == 4u);
  product1 = select(product1, sum5, lane % 8u == 5u);
  product1 = select(product1, sum6, lane % 8u == 6u);
  product1 = select(product1, sum7, lane % 8u == 7u);
  }
  let p1 = select(0.0, weight1 * inverse, valid1);
  
  product1 = select(0.0, product1, valid1);
  mean += p1 * product1;
  var product2 = 0.0;
  {
  let at0 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 0u)) * 16u;
  let x0_0 = load_value(at0 + lane % 8u + 0u);
  let x0_1 = load_value(at0 + lane % 8u + 8u);
  let at1 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 1u)) * 16u;
  let x1_0 = load_value(at1 + lane % 8u + 0u);
  let x1_1 = load_value(at1 + lane % 8u + 8u);
  let at2 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 2u)) * 16u;
  let x2_0 = load_value(at2 + lane % 8u + 0u);
  let x2_1 = load_value(at2 + lane % 8u + 8u);
  let at3 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 3u)) * 16u;
  let x3_0 = load_value(at3 + lane % 8u + 0u);
  let x3_1 = load_value(at3 + lane % 8u + 8u);
  let at4 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 4u)) * 16u;
  let x4_0 = load_value(at4 + lane % 8u + 0u);
  let x4_1 = load_value(at4 + lane % 8u + 8u);
  let at5 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 5u)) * 16u;
  let x5_0 = load_value(at5 + lane % 8u + 0u);
  let x5_1 = load_value(at5 + lane % 8u + 8u);
  let at6 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 6u)) * 16u;
  let x6_0 = load_value(at6 + lane % 8u + 0u);
  let x6_1 = load_value(at6 + lane % 8u + 8u);
  let at7 = params.value_base + (first_key + subgroupShuffle(key2, lane - lane % 8u + 7u)) * 16u;
  let x7_0 = load_value(at7 + lane % 8u + 0u);
  let x7_1 = load_value(at7 + lane % 8u + 8u);
  var sum0 = dot(gradient0, x0_0) + dot(gradient1, x0_1);
  var sum1 = dot(gradient0, x1_0) + dot(gradient1, x1_1);
  var sum2 = dot(gradient0, x2_0) + dot(gradient1, x2_1);
  var sum3 = dot(gradient0, x3_0) + dot(gradient1, x3_1);
  var sum4 = dot(gradient0, x4_0) + dot(gradient1, x4_1);
  var sum5 = dot(gradient0, x5_0) + dot(gradient1, x5_1);
  var sum6 = dot(gradient0, x6_0) + dot(gradient1, x6_1);
  var sum7 = dot(gradient0, x7_0) + dot(gradient1, x7_1);
  sum0 += subgroupShuffleXor(sum0, 1u);
  sum1 += subgroupShuffleXor(sum1, 1u);
  sum2 += subgroupShuffleXor(sum2, 1u);
  sum3 += subgroupShuffleXor(sum3, 1u);
  sum4 += subgroupShuffleXor(sum4, 1u);
  sum5 += subgroupShuffleXor(sum5, 1u);
  sum6 += subgroupShuffleXor(sum6, 1u);
  sum7 += subgroupShuffleXor(sum7, 1u);
  sum0 += subgroupShuffleXor(sum0, 2u);
  sum1 += subgroupShuffleXor(sum1, 2u);
  sum2 += subgroupShuffleXor(sum2, 2u);
  sum3 += subgroupShuffleXor(sum3, 2u);
  sum4 += subgroupShuffleXor(sum4, 2u);
  sum5 += subgroupShuffleXor(sum5, 2u);
  sum6 += subgroupShuffleXor(sum6, 2u);
  sum7 += subgroupShuffleXor(sum7, 2u);
  sum0 += subgroupShuffleXor(sum0, 4u);
  sum1 += subgroupShuffleXor(sum1, 4u);
  sum2 += subgroupShuffleXor(sum2, 4u);
  sum3 += subgroupShuffleXor(sum3, 4u);
  sum4 += subgroupShuffleXor(sum4, 4u);
  sum5 += subgroupShuffleXor(sum5, 4u);
  sum6 += subgroupShuffleXor(sum6, 4u);
  sum7 += subgroupShuffleXor(sum7, 4u);
  product2 = select(product2, sum0, lane % 8u == 0u);
  product2 = select(product2, sum1, lane % 8u == 1u);
  product2 = select(product2, sum2, lane % 8u == 2u);
  product2 = select(product2, sum3, lane % 8u == 3u);
  product2 = select(product2, sum4, lane % 8u == 4u);
  product2 = select(product2, sum5, lane % 8u == 5u);
  product2 = select(product2, sum6, lane % 8u == 6u);
  product2 = select(product2, sum7, lane % 8u == 7u);
  }
  let p2 = select(0.0, weight2 * inverse, valid2);
  
  product2 = select(0.0, product2, valid2);
  mean += p2 * product2;
  var product3 = 0.0;
  {
  let at0 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 0u)) * 16u;
  let x0_0 = load_value(at0 + lane % 8u + 0u);
  let x0_1 = load_value(at0 + lane % 8u + 8u);
  let at1 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 1u)) * 16u;
  let x1_0 = load_value(at1 + lane % 8u + 0u);
  let x1_1 = load_value(at1 + lane % 8u + 8u);
  let at2 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 2u)) * 16u;
  let x2_0 = load_value(at2 + lane % 8u + 0u);
  let x2_1 = load_value(at2 + lane % 8u + 8u);
  let at3 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 3u)) * 16u;
  let x3_0 = load_value(at3 + lane % 8u + 0u);
  let x3_1 = load_value(at3 + lane % 8u + 8u);
  let at4 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 4u)) * 16u;
  let x4_0 = load_value(at4 + lane % 8u + 0u);
  let x4_1 = load_value(at4 + lane % 8u + 8u);
  let at5 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 5u)) * 16u;
  let x5_0 = load_value(at5 + lane % 8u + 0u);
  let x5_1 = load_value(at5 + lane % 8u + 8u);
  let at6 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 6u)) * 16u;
  let x6_0 = load_value(at6 + lane % 8u + 0u);
  let x6_1 = load_value(at6 + lane % 8u + 8u);
  let at7 = params.value_base + (first_key + subgroupShuffle(key3, lane - lane % 8u + 7u)) * 16u;
  let x7_0 = load_value(at7 + lane % 8u + 0u);
  let x7_1 = load_value(at7 + lane % 8u + 8u);
  var sum0 = dot(gradient0, x0_0) + dot(gradient1, x0_1);
  var sum1 = dot(gradient0, x1_0) + dot(gradient1, x1_1);
  var sum2 = dot(gradient0, x2_0) + dot(gradient1, x2_1);
  var sum3 = dot(gradient0, x3_0) + dot(gradient1, x3_1);
  var sum4 = dot(gradient0, x4_0) + dot(gradient1, x4_1);
  var sum5 = dot(gradient0, x5_0) + dot(gradient1, x5_1);
  var sum6 = dot(gradient0, x6_0) + dot(gradient1, x6_1);
  var sum7 = dot(gradient0, x7_0) + dot(gradient1, x7_1);
  sum0 += subgroupShuffleXor(sum0, 1u);
  sum1 += subgroupShuffleXor(sum1, 1u);
  sum2 += subgroupShuffleXor(sum2, 1u);
  sum3 += subgroupShuffleXor(sum3, 1u);
  sum4 += subgroupShuffleXor(sum4, 1u);
  sum5 += subgroupShuffleXor(sum5, 1u);
  sum6 += subgroupShuffleXor(sum6, 1u);
  sum7 += subgroupShuffleXor(sum7, 1u);
  sum0 += subgroupShuffleXor(sum0, 2u);
  sum1 += subgroupShuffleXor(sum1, 2u);
  sum2 += subgroupShuffleXor(sum2, 2u);
  sum3 += subgroupShuffleXor(sum3, 2u);
  sum4 += subgroupShuffleXor(sum4, 2u);
  sum5 += subgroupShuffleXor(sum5, 2u);
  sum6 += subgroupShuffleXor(sum6, 2u);
  sum7 += subgroupShuffleXor(sum7, 2u);
  sum0 += subgroupShuffleXor(sum0, 4u);
  sum1 += subgroupShuffleXor(sum1, 4u);
  sum2 += subgroupShuffleXor(sum2, 4u);
  sum3 += subgroupShuffleXor(sum3, 4u);
  sum4 += subgroupShuffleXor(sum4, 4u);
  sum5 += subgroupShuffleXor(sum5, 4u);
  sum6 += subgroupShuffleXor(sum6, 4u);
  sum7 += subgroupShuffleXor(sum7, 4u);
  product3 = select(product3, sum0, lane % 8u == 0u);
  product3 = select(product3, sum1, lane % 8u == 1u);
  product3 = select(product3, sum2, lane % 8u == 2u);
  product3 = select(product3, sum3, lane % 8u == 3u);
  product3 = select(product3, sum4, lane % 8u == 4u);
  product3 = select(product3, sum5, lane % 8u == 5u);
  product3 = select(product3, sum6, lane % 8u == 6u);
  product3 = select(product3, sum7, lane % 8u == 7u);
  }
  let p3 = select(0.0, weight3 * inverse, valid3);
  
  product3 = select(0.0, product3, valid3);
  mean += p3 * product3;
  mean = subgroupAdd(mean);
  let made0 = vec2f(p0, p0 * (product0 - mean));
  if (lane + 0u < params.slots) {
    weights[first_slot + 0u + lane] = select(made0, vec2f(nan()), is_bad);
  }
  shared_keys[0u + lane] = params.key_base + (first_key + key0) * 16u;
  shared_gradients[0u + lane] = made0.y;
  let made1 = vec2f(p1, p1 * (product1 - mean));
  if (lane + 32u < params.slots) {
    weights[first_slot + 32u + lane] = select(made1, vec2f(nan()), is_bad);
  }
  shared_keys[32u + lane] = params.key_base + (first_key + key1) * 16u;
  shared_gradients[32u + lane] = made1.y;
  let made2 = vec2f(p2, p2 * (product2 - mean));
  if (lane + 64u < params.slots) {
    weights[first_slot + 64u + lane] = select(made2, vec2f(nan()), is_bad);
  }
  shared_keys[64u + lane] = params.key_base + (first_key + key2) * 16u;
  shared_gradients[64u + lane] = made2.y;
  let made3 = vec2f(p3, p3 * (product3 - mean));
  if (lane + 96u < params.slots) {
    weights[first_slot + 96u + lane] = select(made3, vec2f(nan()), is_bad);
  }
  shared_keys[96u + lane] = params.key_base + (first_key + key3) * 16u;
  shared_gradients[96u + lane] = made3.y;
  workgroupBarrier();
  var sum0 = vec4f(0.0);
  for (var first = lane / 16u; first < 128u; first += 16u) {
    let slot0 = first + 0u; let at0 = shared_keys[slot0];
    let x0_0 = load_key(at0 + lane % 16u + 0u);
    let slot1 = first + 2u; let at1 = shared_keys[slot1];
    let x1_0 = load_key(at1 + lane % 16u + 0u);
    let slot2 = first + 4u; let at2 = shared_keys[slot2];
    let x2_0 = load_key(at2 + lane % 16u + 0u);
    let slot3 = first + 6u; let at3 = shared_keys[slot3];
    let x3_0 = load_key(at3 + lane % 16u + 0u);
    let slot4 = first + 8u; let at4 = shared_keys[slot4];
    let x4_0 = load_key(at4 + lane % 16u + 0u);
    let slot5 = first + 10u; let at5 = shared_keys[slot5];
    let x5_0 = load_key(at5 + lane % 16u + 0u);
    let slot6 = first + 12u; let at6 = shared_keys[slot6];
    let x6_0 = load_key(at6 + lane % 16u + 0u);
    let slot7 = first + 14u; let at7 = shared_keys[slot7];
    let x7_0 = load_key(at7 + lane % 16u + 0u);
    sum0 = fma(vec4f(shared_gradients[slot0]), x0_0, sum0);
    sum0 = fma(vec4f(shared_gradients[slot1]), x1_0, sum0);
    sum0 = fma(vec4f(shared_gradients[slot2]), x2_0, sum0);
    sum0 = fma(vec4f(shared_gradients[slot3]), x3_0, sum0);
    sum0 = fma(vec4f(shared_gradients[slot4]), x4_0, sum0);
    sum0 = fma(vec4f(shared_gradients[slot5]), x5_0, sum0);
    sum0 = fma(vec4f(shared_gradients[slot6]), x6_0, sum0);
    sum0 = fma(vec4f(shared_gradients[slot7]), x7_0, sum0);
  }
  sum0 += subgroupShuffleXor(sum0, 16u);
  if (lane < 16u && lane + 0u < 16u) {
    let sum = select(vec4f(0.0), sum0 * params.scale, has_keys);
    result[params.result_base + row * 16u + lane + 0u] = select(sum, vec4f(nan()), is_bad);
  }
}