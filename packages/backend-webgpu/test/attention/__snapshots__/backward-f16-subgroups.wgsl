// attention-backward rows {"headDim":64,"valueDim":64,"layout":{"width":4,"half":true},"dropout":false,"registers":2}
enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params { rows: u32, rows_per_unit: u32, keys: u32, slots: u32, scale: f32, first_row: u32, query_length: u32, query_heads: u32, threshold: u32, kept_factor: f32, seed: vec2u, key_base: u32, value_base: u32, gradient_base: u32, indices_base: u32, scores_base: u32, result_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key: array<vec2u>;
@group(0) @binding(2) var<storage, read> value: array<vec2u>;
@group(0) @binding(3) var<storage, read> gradient: array<vec2u>;
@group(0) @binding(4) var<storage, read> indices: array<i32>;
@group(0) @binding(5) var<storage, read> scores: array<u32>;
@group(0) @binding(6) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> weights: array<vec2f>;
const INVOCATIONS = 32u;

fn load_key(at: u32) -> vec4f { return vec4f(unpack2x16float(key[at].x), unpack2x16float(key[at].y)); }
fn load_value(at: u32) -> vec4f { return vec4f(unpack2x16float(value[at].x), unpack2x16float(value[at].y)); }
fn load_gradient(at: u32) -> vec4f { return vec4f(unpack2x16float(gradient[at].x), unpack2x16float(gradient[at].y)); }

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }

const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

// 1 / (1 - rate) or 0, keyed by (seed, batch, head, query, slot); 1 without dropout.
fn dropout_factor(row: u32, slot: u32) -> f32 {
  return 1.0;
}
var<workgroup> shared_keys: array<u32, 64>;
var<workgroup> shared_gradients: array<f32, 64>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let first_key = (row / params.rows_per_unit) * params.keys;
  let first_slot = row * params.slots;
  let gradient0 = load_gradient(params.gradient_base / 4u + row * 16u + lane % 8u + 0u);
  let gradient1 = load_gradient(params.gradient_base / 4u + row * 16u + lane % 8u + 8u);
  var largest = -3.4e38;
  var is_bad = false;
  // A slot without a key takes the row's first one, whose rows are read in any case, with weight 0.
  let fallback = u32(max(indices[params.indices_base + first_slot], 0));
  var key0 = fallback; var valid0 = false; var score0 = 0.0;
  if (lane + 0u < params.slots) {
    let index = indices[params.indices_base + first_slot + 0u + lane];
    let bits = scores[params.scores_base + first_slot + 0u + lane];
    is_bad = is_bad || is_nan_or_plus_inf(bits);
    valid0 = index >= 0;
    if (valid0) { key0 = u32(index); score0 = bitcast<f32>(bits); }
  }
  var key1 = fallback; var valid1 = false; var score1 = 0.0;
  if (lane + 32u < params.slots) {
    let index = indices[params.indices_base + first_slot + 32u + lane];
    let bits = scores[params.scores_base + first_slot + 32u + lane];
    is_bad = is_bad || is_nan_or_plus_inf(bits);
    valid1 = index >= 0;
    if (valid1) { key1 = u32(index); score1 = bitcast<f32>(bits); }
  }
  is_bad = subgroupAny(is_bad);
  let has_keys = subgroupAny(valid0);
  if (valid0 && !is_bad) { largest = max(largest, score0); }
  if (valid1 && !is_bad) { largest = max(largest, score1); }
  largest = subgroupMax(largest);
  var total = 0.0;
  let weight0 = select(0.0, exp(score0 - largest), valid0); total += weight0;
  let weight1 = select(0.0, exp(score1 - largest), valid1); total += weight1;
  let inverse = 1.0 / subgroupAdd(total);
  let value_base = params.value_base / 4u;
  var mean = 0.0;
  var product0 = 0.0;
  {
  let at0 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 0u)) * 16u;
  let x0_0 = load_value(at0 + lane % 8u + 0u);
  let x0_1 = load_value(at0 + lane % 8u + 8u);
  let at1 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 1u)) * 16u;
  let x1_0 = load_value(at1 + lane % 8u + 0u);
  let x1_1 = load_value(at1 + lane % 8u + 8u);
  let at2 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 2u)) * 16u;
  let x2_0 = load_value(at2 + lane % 8u + 0u);
  let x2_1 = load_value(at2 + lane % 8u + 8u);
  let at3 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 3u)) * 16u;
  let x3_0 = load_value(at3 + lane % 8u + 0u);
  let x3_1 = load_value(at3 + lane % 8u + 8u);
  let at4 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 4u)) * 16u;
  let x4_0 = load_value(at4 + lane % 8u + 0u);
  let x4_1 = load_value(at4 + lane % 8u + 8u);
  let at5 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 5u)) * 16u;
  let x5_0 = load_value(at5 + lane % 8u + 0u);
  let x5_1 = load_value(at5 + lane % 8u + 8u);
  let at6 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 6u)) * 16u;
  let x6_0 = load_value(at6 + lane % 8u + 0u);
  let x6_1 = load_value(at6 + lane % 8u + 8u);
  let at7 = value_base + (first_key + subgroupShuffle(key0, lane - lane % 8u + 7u)) * 16u;
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
  let at0 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 0u)) * 16u;
  let x0_0 = load_value(at0 + lane % 8u + 0u);
  let x0_1 = load_value(at0 + lane % 8u + 8u);
  let at1 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 1u)) * 16u;
  let x1_0 = load_value(at1 + lane % 8u + 0u);
  let x1_1 = load_value(at1 + lane % 8u + 8u);
  let at2 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 2u)) * 16u;
  let x2_0 = load_value(at2 + lane % 8u + 0u);
  let x2_1 = load_value(at2 + lane % 8u + 8u);
  let at3 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 3u)) * 16u;
  let x3_0 = load_value(at3 + lane % 8u + 0u);
  let x3_1 = load_value(at3 + lane % 8u + 8u);
  let at4 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 4u)) * 16u;
  let x4_0 = load_value(at4 + lane % 8u + 0u);
  let x4_1 = load_value(at4 + lane % 8u + 8u);
  let at5 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 5u)) * 16u;
  let x5_0 = load_value(at5 + lane % 8u + 0u);
  let x5_1 = load_value(at5 + lane % 8u + 8u);
  let at6 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 6u)) * 16u;
  let x6_0 = load_value(at6 + lane % 8u + 0u);
  let x6_1 = load_value(at6 + lane % 8u + 8u);
  let at7 = value_base + (first_key + subgroupShuffle(key1, lane - lane % 8u + 7u)) * 16u;
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
  mean = subgroupAdd(mean);
  let made0 = vec2f(p0, p0 * (product0 - mean));
  if (lane + 0u < params.slots) {
    weights[first_slot + 0u + lane] = select(made0, vec2f(nan()), is_bad);
  }
  shared_keys[0u + lane] = params.key_base / 4u + (first_key + key0) * 16u;
  shared_gradients[0u + lane] = made0.y;
  let made1 = vec2f(p1, p1 * (product1 - mean));
  if (lane + 32u < params.slots) {
    weights[first_slot + 32u + lane] = select(made1, vec2f(nan()), is_bad);
  }
  shared_keys[32u + lane] = params.key_base / 4u + (first_key + key1) * 16u;
  shared_gradients[32u + lane] = made1.y;
  workgroupBarrier();
  var sum0 = vec4f(0.0);
  for (var first = lane / 16u; first < 64u; first += 16u) {
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
    result[params.result_base / 4u + row * 16u + lane + 0u] = select(sum, vec4f(nan()), is_bad);
  }
}

// attention narrow fours
struct Params { fours: u32, narrow_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> wide: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> narrow: array<vec2u>;
const INVOCATIONS = 256u;


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
fn halves_of(low: f32, high: f32) -> u32 { return half_of(low) | (half_of(high) << 16u); }

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let at = group_index(group, groups) * INVOCATIONS + t;
  if (at >= params.fours) { return; }
  let four = wide[at];
  narrow[params.narrow_base / 4u + at] = vec2u(halves_of(four.x, four.y), halves_of(four.z, four.w));
}

// attention-backward count-tiles {"keysPerTileLog2":7}
struct Params { rows_per_unit: u32, slots: u32, tiles: u32, row_blocks: u32, rows_per_block: u32, blocks: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
const INVOCATIONS = 256u;

var<workgroup> count: array<atomic<u32>, 1024>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  for (var tile = t; tile < params.tiles; tile += INVOCATIONS) { atomicStore(&count[tile], 0u); }
  workgroupBarrier();
  let first = in_unit * params.rows_per_block;
  let end = min(params.rows_per_unit, first + params.rows_per_block);
  let base = params.indices_base + unit * params.rows_per_unit * params.slots;
  for (var entry = first * params.slots + t; entry < end * params.slots; entry += INVOCATIONS) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&count[u32(key) >> 7u], 1u); }
  }
  workgroupBarrier();
  for (var tile = t; tile < params.tiles; tile += INVOCATIONS) {
    counts[(unit * params.tiles + tile) * params.row_blocks + in_unit] = atomicLoad(&count[tile]);
  }
}

// attention-backward scan-blocks
struct Params { row_blocks: u32, tiles: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> totals: array<u32>;
const INVOCATIONS = 256u;


fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 256>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 256u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[255]; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let tile = group_index(group, groups);
  if (tile >= params.tiles) { return; }
  var before = 0u;
  for (var first = 0u; first < params.row_blocks; first += INVOCATIONS) {
    let block = first + t;
    let at = tile * params.row_blocks + block;
    var count = 0u;
    if (block < params.row_blocks) { count = counts[at]; }
    let sum = scanned(count, t);
    if (block < params.row_blocks) { counts[at] = before + sum; }
    before += scan_total();
  }
  if (t == 0u) { totals[tile] = before; }
}

// attention-backward place-tiles
struct Params { tiles: u32, block_entries: u32, entry_blocks: u32, entries: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> totals: array<u32>;
@group(0) @binding(2) var<storage, read_write> info: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> block_tiles: array<u32>;
const INVOCATIONS = 256u;

var<workgroup> first_blocks: array<u32, 1024>;

var<workgroup> scan_sums: array<u32, 256>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 256u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[255]; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let unit = group.x;
  let base = unit * params.tiles;
  var blocks_before = 0u;
  var entries_before = unit * params.entries;
  for (var first = 0u; first < params.tiles; first += INVOCATIONS) {
    let tile = first + t;
    var count = 0u;
    if (tile < params.tiles) { count = totals[base + tile]; }
    let blocks = (count + params.block_entries - 1u) / params.block_entries;
    let block = blocks_before + scanned(blocks, t);
    blocks_before += scan_total();
    let entry = entries_before + scanned(count, t);
    entries_before += scan_total();
    if (tile < params.tiles) {
      info[base + tile] = vec4u(block, count, entry, 0u);
      first_blocks[tile] = block;
    }
  }
  workgroupBarrier();
  for (var block = t; block < params.entry_blocks; block += INVOCATIONS) {
    var tile = 4294967295u;
    if (block < blocks_before) {
      // The last tile that begins at or before the block and is not empty.
      var low = 0u;
      var high = params.tiles;
      while (high - low > 1u) {
        let middle = (low + high) / 2u;
        if (first_blocks[middle] <= block) { low = middle; } else { high = middle; }
      }
      tile = low;
    }
    block_tiles[unit * params.entry_blocks + block] = tile;
  }
}

// attention-backward scatter-tiles {"keysPerTileLog2":7,"staging":{"tileCapacity":128,"entries":2048,"invocations":64}}
struct Params { rows_per_unit: u32, slots: u32, tiles: u32, row_blocks: u32, rows_per_block: u32, blocks: u32, block_entries: u32, entry_blocks: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> weights: array<vec2f>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read> info: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> tile_keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> tile_weights: array<vec2f>;
const INVOCATIONS = 64u;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 64>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 64u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[63]; }
var<workgroup> next: array<atomic<u32>, 128>;
// What to add to a staged place to get that in the tile.
var<workgroup> shift: array<u32, 128>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, 1024>;
fn stage(key: i32, number: u32) {
  if (key >= 0) {
    let at = atomicAdd(&next[u32(key) >> 7u], 1u);
    atomicOr(&staged[at / 2u], number << (16u * (at % 2u)));
  }
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  let first_row = in_unit * params.rows_per_block;
  let rows = min(params.rows_per_unit - first_row, params.rows_per_block);
  let first = (unit * params.rows_per_unit + first_row) * params.slots;
  let base = params.indices_base + first;
  for (var tile = t; tile < 128u; tile += INVOCATIONS) { atomicStore(&next[tile], 0u); }
  for (var word = t; word < 1024u; word += INVOCATIONS) { atomicStore(&staged[word], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < rows * params.slots; entry += INVOCATIONS) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&next[u32(key) >> 7u], 1u); }
  }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < 2u; i++) {
    let tile = t * 2u + i;
    if (tile < 128u) { own += atomicLoad(&next[tile]); }
  }
  var at = scanned(own, t);
  let total = scan_total();
  for (var i = 0u; i < 2u; i++) {
    let tile = t * 2u + i;
    if (tile < 128u) {
      let count = atomicLoad(&next[tile]);
      atomicStore(&next[tile], at);
      if (tile < params.tiles) {
        let place = unit * params.tiles + tile;
        shift[tile] = (unit * params.entry_blocks + info[place].x) * params.block_entries
          + counts[place * params.row_blocks + in_unit] - at;
      }
      at += count;
    }
  }
  let has_slot = t < params.slots;
  var key = -1;
  if (has_slot) { key = indices[base + t]; }
  workgroupBarrier();
  for (var row = 0u; row < rows; row++) {
    var next_key = -1;
    if (has_slot && row + 1u < rows) { next_key = indices[base + (row + 1u) * params.slots + t]; }
    stage(key, row * params.slots + t);
    for (var s = t + INVOCATIONS; s < params.slots; s += INVOCATIONS) {
      stage(indices[base + row * params.slots + s], row * params.slots + s);
    }
    key = next_key;
    workgroupBarrier();
  }
  for (var place = t; place < total; place += INVOCATIONS) {
    let entry = (atomicLoad(&staged[place / 2u]) >> (16u * (place % 2u))) & 0xffffu;
    let key_of = u32(indices[base + entry]);
    let row = first_row + entry / params.slots;
    let to = shift[key_of >> 7u] + place;
    tile_keys[to] = (row << 7u) | (key_of & 127u);
    tile_weights[to] = weights[first + entry];
  }
}

// attention-backward count-keys {"keysPerTileLog2":7}
struct Params { blocks: u32, entry_blocks: u32, tiles: u32, block_entries: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_tiles: array<u32>;
@group(0) @binding(2) var<storage, read> info: array<vec4u>;
@group(0) @binding(3) var<storage, read> tile_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
const INVOCATIONS = 256u;

var<workgroup> count: array<atomic<u32>, 128>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == 4294967295u) { return; }
  let place = info[(block / params.entry_blocks) * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  for (var key = t; key < 128u; key += INVOCATIONS) { atomicStore(&count[key], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < entries; entry += INVOCATIONS) {
    atomicAdd(&count[tile_keys[block * params.block_entries + entry] & 127u], 1u);
  }
  workgroupBarrier();
  for (var key = t; key < 128u; key += INVOCATIONS) {
    counts[block * 128u + key] = atomicLoad(&count[key]);
  }
}

// attention-backward scan-keys {"keysPerTileLog2":7}
struct Params { tiles: u32, all_tiles: u32, entry_blocks: u32, block_entries: u32, keys: u32, piece_words: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> info: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> ranges: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> piece_keys: array<u32>;
const INVOCATIONS = 128u;


fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 128>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 128u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[127]; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let place = group_index(group, groups);
  if (place >= params.all_tiles) { return; }
  for (var word = place * INVOCATIONS + t; word < params.piece_words; word += params.all_tiles * INVOCATIONS) {
    piece_keys[word] = 0u;
  }
  let unit = place / params.tiles;
  let tile = info[place];
  let first = unit * params.entry_blocks + tile.x;
  let end = first + (tile.y + params.block_entries - 1u) / params.block_entries;
  let own = t * 1u;
  var sums: array<u32, 1>;
  var total = 0u;
  for (var i = 0u; i < 1u; i++) {
    var sum = 0u;
    var block = first;
    for (; block + 16u <= end; block += 16u) { sum += counts[(block + 0u) * 128u + own + i] + counts[(block + 1u) * 128u + own + i] + counts[(block + 2u) * 128u + own + i] + counts[(block + 3u) * 128u + own + i] + counts[(block + 4u) * 128u + own + i] + counts[(block + 5u) * 128u + own + i] + counts[(block + 6u) * 128u + own + i] + counts[(block + 7u) * 128u + own + i] + counts[(block + 8u) * 128u + own + i] + counts[(block + 9u) * 128u + own + i] + counts[(block + 10u) * 128u + own + i] + counts[(block + 11u) * 128u + own + i] + counts[(block + 12u) * 128u + own + i] + counts[(block + 13u) * 128u + own + i] + counts[(block + 14u) * 128u + own + i] + counts[(block + 15u) * 128u + own + i]; }
    for (; block < end; block++) { sum += counts[block * 128u + own + i]; }
    sums[i] = sum;
    total += sum;
  }
  var at = tile.z + scanned(total, t);
  for (var i = 0u; i < 1u; i++) {
    let key = (place % params.tiles) * 128u + own + i;
    if (key < params.keys) { ranges[unit * params.keys + key] = vec2u(at, sums[i]); }
    var block = first;
    for (; block + 16u <= end; block += 16u) {
      let count0 = counts[(block + 0u) * 128u + own + i]; let count1 = counts[(block + 1u) * 128u + own + i]; let count2 = counts[(block + 2u) * 128u + own + i]; let count3 = counts[(block + 3u) * 128u + own + i]; let count4 = counts[(block + 4u) * 128u + own + i]; let count5 = counts[(block + 5u) * 128u + own + i]; let count6 = counts[(block + 6u) * 128u + own + i]; let count7 = counts[(block + 7u) * 128u + own + i]; let count8 = counts[(block + 8u) * 128u + own + i]; let count9 = counts[(block + 9u) * 128u + own + i]; let count10 = counts[(block + 10u) * 128u + own + i]; let count11 = counts[(block + 11u) * 128u + own + i]; let count12 = counts[(block + 12u) * 128u + own + i]; let count13 = counts[(block + 13u) * 128u + own + i]; let count14 = counts[(block + 14u) * 128u + own + i]; let count15 = counts[(block + 15u) * 128u + own + i];
      counts[(block + 0u) * 128u + own + i] = at; at += count0; counts[(block + 1u) * 128u + own + i] = at; at += count1; counts[(block + 2u) * 128u + own + i] = at; at += count2; counts[(block + 3u) * 128u + own + i] = at; at += count3; counts[(block + 4u) * 128u + own + i] = at; at += count4; counts[(block + 5u) * 128u + own + i] = at; at += count5; counts[(block + 6u) * 128u + own + i] = at; at += count6; counts[(block + 7u) * 128u + own + i] = at; at += count7; counts[(block + 8u) * 128u + own + i] = at; at += count8; counts[(block + 9u) * 128u + own + i] = at; at += count9; counts[(block + 10u) * 128u + own + i] = at; at += count10; counts[(block + 11u) * 128u + own + i] = at; at += count11; counts[(block + 12u) * 128u + own + i] = at; at += count12; counts[(block + 13u) * 128u + own + i] = at; at += count13; counts[(block + 14u) * 128u + own + i] = at; at += count14; counts[(block + 15u) * 128u + own + i] = at; at += count15;
    }
    for (; block < end; block++) {
      let count = counts[block * 128u + own + i];
      counts[block * 128u + own + i] = at;
      at += count;
    }
  }
}

// attention-backward scatter-keys {"keysPerTileLog2":7,"entries":256}
struct Params { blocks: u32, entry_blocks: u32, tiles: u32, block_entries: u32, keys: u32, rows_per_unit: u32, piece_entries: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_tiles: array<u32>;
@group(0) @binding(2) var<storage, read> info: array<vec4u>;
@group(0) @binding(3) var<storage, read> tile_keys: array<u32>;
@group(0) @binding(4) var<storage, read> tile_weights: array<vec2f>;
@group(0) @binding(5) var<storage, read> places: array<u32>;
@group(0) @binding(6) var<storage, read_write> sorted_rows: array<u32>;
@group(0) @binding(7) var<storage, read_write> sorted_weights: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> piece_keys: array<u32>;
const INVOCATIONS = 256u;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 256>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 256u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[255]; }
var<workgroup> bits: array<atomic<u32>, 1024>;
var<workgroup> next: array<atomic<u32>, 128>;
// What to add to a staged place to get that in the sorted list.
var<workgroup> shift: array<u32, 128>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, 128>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == 4294967295u) { return; }
  let unit = block / params.entry_blocks;
  let place = info[unit * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  let base = block * params.block_entries;
  for (var key = t; key < 128u; key += INVOCATIONS) { atomicStore(&next[key], 0u); }
  for (var number = t; number < 128u; number += INVOCATIONS) { atomicStore(&staged[number], 0u); }
  workgroupBarrier();
  for (var i = t; i < entries; i += INVOCATIONS) { atomicAdd(&next[tile_keys[base + i] & 127u], 1u); }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < 1u; i++) {
    let key = t * 1u + i;
    if (key < 128u) { own += atomicLoad(&next[key]); }
  }
  var first_of = scanned(own, t);
  for (var i = 0u; i < 1u; i++) {
    let key = t * 1u + i;
    if (key < 128u) {
      let count = atomicLoad(&next[key]);
      atomicStore(&next[key], first_of);
      shift[key] = places[block * 128u + key] - first_of;
      first_of += count;
    }
  }
  let word = t / 32u;
  let bit = 1u << (t % 32u);
  // The keys of the next round are on their way while one is put in order.
  var coming = 0u;
  if (t < entries) { coming = tile_keys[base + t] & 127u; }
  for (var first = 0u; first < entries; first += INVOCATIONS) {
    for (var at = t; at < 1024u; at += INVOCATIONS) { atomicStore(&bits[at], 0u); }
    let is_entry = first + t < entries;
    let key = coming;
    let after = first + INVOCATIONS + t;
    if (after < entries) { coming = tile_keys[base + after] & 127u; }
    workgroupBarrier();
    if (is_entry) {
      atomicOr(&bits[word * 128u + key], bit);
    }
    workgroupBarrier();
    if (is_entry) {
      var at = atomicLoad(&next[key]) + countOneBits(atomicLoad(&bits[word * 128u + key]) & (bit - 1u));
      if (word > 0u) { at += countOneBits(atomicLoad(&bits[0u + key])); }
      if (word > 1u) { at += countOneBits(atomicLoad(&bits[128u + key])); }
      if (word > 2u) { at += countOneBits(atomicLoad(&bits[256u + key])); }
      if (word > 3u) { at += countOneBits(atomicLoad(&bits[384u + key])); }
      if (word > 4u) { at += countOneBits(atomicLoad(&bits[512u + key])); }
      if (word > 5u) { at += countOneBits(atomicLoad(&bits[640u + key])); }
      if (word > 6u) { at += countOneBits(atomicLoad(&bits[768u + key])); }
      if (word > 7u) { at += countOneBits(atomicLoad(&bits[896u + key])); }
      atomicOr(&staged[at / 2u], (first + t) << (16u * (at % 2u)));
    }
    workgroupBarrier();
    for (var counted = t; counted < 128u; counted += INVOCATIONS) {
      atomicStore(&next[counted], atomicLoad(&next[counted])
        + countOneBits(atomicLoad(&bits[0u + counted])) + countOneBits(atomicLoad(&bits[128u + counted])) + countOneBits(atomicLoad(&bits[256u + counted])) + countOneBits(atomicLoad(&bits[384u + counted])) + countOneBits(atomicLoad(&bits[512u + counted])) + countOneBits(atomicLoad(&bits[640u + counted])) + countOneBits(atomicLoad(&bits[768u + counted])) + countOneBits(atomicLoad(&bits[896u + counted])));
    }
    workgroupBarrier();
  }
  for (var i = t; i < entries; i += INVOCATIONS) {
    let number = (atomicLoad(&staged[i / 2u]) >> (16u * (i % 2u))) & 0xffffu;
    let entry = tile_keys[base + number];
    let key = entry & 127u;
    let at = shift[key] + i;
    sorted_rows[at] = unit * params.rows_per_unit + (entry >> 7u);
    sorted_weights[at] = tile_weights[base + number];
    let in_piece = at % params.piece_entries;
    let marked = unit * params.keys + tile * 128u + key + 1u;
    if (in_piece == 0u) { piece_keys[2u * (at / params.piece_entries)] = marked; }
    if (in_piece == params.piece_entries - 1u) { piece_keys[2u * (at / params.piece_entries) + 1u] = marked; }
  }
}

// attention-backward pieces {"headDim":64,"valueDim":64,"layout":{"width":4,"half":true},"subgroups":true}
enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params { pieces: u32, piece_entries: u32, query_base: u32, gradient_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<vec2u>;
@group(0) @binding(2) var<storage, read> gradient: array<vec2u>;
@group(0) @binding(3) var<storage, read> sorted_rows: array<u32>;
@group(0) @binding(4) var<storage, read> sorted_weights: array<vec2f>;
@group(0) @binding(5) var<storage, read> piece_keys: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec4f>;
const INVOCATIONS = 32u;

fn load_query(at: u32) -> vec4f { return vec4f(unpack2x16float(query[at].x), unpack2x16float(query[at].y)); }
fn load_gradient(at: u32) -> vec4f { return vec4f(unpack2x16float(gradient[at].x), unpack2x16float(gradient[at].y)); }

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
var<private> query_sum0: vec4f;
var<private> gradient_sum0: vec4f;
// Adds list entries start .. end - 1, 32 at a time.
fn gather(start: u32, end: u32, lane: u32) {
  let query_base = params.query_base / 4u;
  let gradient_base = params.gradient_base / 4u;
  for (var at = start; at < end; at += INVOCATIONS) {
    let count = min(INVOCATIONS, end - at);
    let mine = at + min(lane, count - 1u);
    let row = sorted_rows[mine];
    let pair = sorted_weights[mine];
    if (count == INVOCATIONS) {
      { let part = lane / 16u;
    let column = lane % 16u;
    for (var first = 0u; first < 32u; first += 16u) {
    let entry0 = first + 0u + part;
    let row0 = subgroupShuffle(row, entry0) * 16u;
    let query_weight0 = subgroupShuffle(pair.y, entry0);
    let query0_0 = load_query(query_base + row0 + column);
    let gradient_weight0 = subgroupShuffle(pair.x, entry0);
    let gradient0_0 = load_gradient(gradient_base + row0 + column);
    let entry1 = first + 2u + part;
    let row1 = subgroupShuffle(row, entry1) * 16u;
    let query_weight1 = subgroupShuffle(pair.y, entry1);
    let query1_0 = load_query(query_base + row1 + column);
    let gradient_weight1 = subgroupShuffle(pair.x, entry1);
    let gradient1_0 = load_gradient(gradient_base + row1 + column);
    let entry2 = first + 4u + part;
    let row2 = subgroupShuffle(row, entry2) * 16u;
    let query_weight2 = subgroupShuffle(pair.y, entry2);
    let query2_0 = load_query(query_base + row2 + column);
    let gradient_weight2 = subgroupShuffle(pair.x, entry2);
    let gradient2_0 = load_gradient(gradient_base + row2 + column);
    let entry3 = first + 6u + part;
    let row3 = subgroupShuffle(row, entry3) * 16u;
    let query_weight3 = subgroupShuffle(pair.y, entry3);
    let query3_0 = load_query(query_base + row3 + column);
    let gradient_weight3 = subgroupShuffle(pair.x, entry3);
    let gradient3_0 = load_gradient(gradient_base + row3 + column);
    let entry4 = first + 8u + part;
    let row4 = subgroupShuffle(row, entry4) * 16u;
    let query_weight4 = subgroupShuffle(pair.y, entry4);
    let query4_0 = load_query(query_base + row4 + column);
    let gradient_weight4 = subgroupShuffle(pair.x, entry4);
    let gradient4_0 = load_gradient(gradient_base + row4 + column);
    let entry5 = first + 10u + part;
    let row5 = subgroupShuffle(row, entry5) * 16u;
    let query_weight5 = subgroupShuffle(pair.y, entry5);
    let query5_0 = load_query(query_base + row5 + column);
    let gradient_weight5 = subgroupShuffle(pair.x, entry5);
    let gradient5_0 = load_gradient(gradient_base + row5 + column);
    let entry6 = first + 12u + part;
    let row6 = subgroupShuffle(row, entry6) * 16u;
    let query_weight6 = subgroupShuffle(pair.y, entry6);
    let query6_0 = load_query(query_base + row6 + column);
    let gradient_weight6 = subgroupShuffle(pair.x, entry6);
    let gradient6_0 = load_gradient(gradient_base + row6 + column);
    let entry7 = first + 14u + part;
    let row7 = subgroupShuffle(row, entry7) * 16u;
    let query_weight7 = subgroupShuffle(pair.y, entry7);
    let query7_0 = load_query(query_base + row7 + column);
    let gradient_weight7 = subgroupShuffle(pair.x, entry7);
    let gradient7_0 = load_gradient(gradient_base + row7 + column);
    query_sum0 = fma(vec4f(query_weight0), query0_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight0), gradient0_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight1), query1_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight1), gradient1_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight2), query2_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight2), gradient2_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight3), query3_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight3), gradient3_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight4), query4_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight4), gradient4_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight5), query5_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight5), gradient5_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight6), query6_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight6), gradient6_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight7), query7_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight7), gradient7_0, gradient_sum0);
    } }
    } else {
      { let part = lane / 16u;
    let column = lane % 16u;
    for (var first = 0u; first < count; first += 16u) {
    let entry0 = first + 0u + part;
    let row0 = subgroupShuffle(row, entry0) * 16u;
    let query_weight0 = subgroupShuffle(pair.y, entry0);
    let query0_0 = load_query(query_base + row0 + column);
    let gradient_weight0 = subgroupShuffle(pair.x, entry0);
    let gradient0_0 = load_gradient(gradient_base + row0 + column);
    let entry1 = first + 2u + part;
    let row1 = subgroupShuffle(row, entry1) * 16u;
    let query_weight1 = subgroupShuffle(pair.y, entry1);
    let query1_0 = load_query(query_base + row1 + column);
    let gradient_weight1 = subgroupShuffle(pair.x, entry1);
    let gradient1_0 = load_gradient(gradient_base + row1 + column);
    let entry2 = first + 4u + part;
    let row2 = subgroupShuffle(row, entry2) * 16u;
    let query_weight2 = subgroupShuffle(pair.y, entry2);
    let query2_0 = load_query(query_base + row2 + column);
    let gradient_weight2 = subgroupShuffle(pair.x, entry2);
    let gradient2_0 = load_gradient(gradient_base + row2 + column);
    let entry3 = first + 6u + part;
    let row3 = subgroupShuffle(row, entry3) * 16u;
    let query_weight3 = subgroupShuffle(pair.y, entry3);
    let query3_0 = load_query(query_base + row3 + column);
    let gradient_weight3 = subgroupShuffle(pair.x, entry3);
    let gradient3_0 = load_gradient(gradient_base + row3 + column);
    let entry4 = first + 8u + part;
    let row4 = subgroupShuffle(row, entry4) * 16u;
    let query_weight4 = subgroupShuffle(pair.y, entry4);
    let query4_0 = load_query(query_base + row4 + column);
    let gradient_weight4 = subgroupShuffle(pair.x, entry4);
    let gradient4_0 = load_gradient(gradient_base + row4 + column);
    let entry5 = first + 10u + part;
    let row5 = subgroupShuffle(row, entry5) * 16u;
    let query_weight5 = subgroupShuffle(pair.y, entry5);
    let query5_0 = load_query(query_base + row5 + column);
    let gradient_weight5 = subgroupShuffle(pair.x, entry5);
    let gradient5_0 = load_gradient(gradient_base + row5 + column);
    let entry6 = first + 12u + part;
    let row6 = subgroupShuffle(row, entry6) * 16u;
    let query_weight6 = subgroupShuffle(pair.y, entry6);
    let query6_0 = load_query(query_base + row6 + column);
    let gradient_weight6 = subgroupShuffle(pair.x, entry6);
    let gradient6_0 = load_gradient(gradient_base + row6 + column);
    let entry7 = first + 14u + part;
    let row7 = subgroupShuffle(row, entry7) * 16u;
    let query_weight7 = subgroupShuffle(pair.y, entry7);
    let query7_0 = load_query(query_base + row7 + column);
    let gradient_weight7 = subgroupShuffle(pair.x, entry7);
    let gradient7_0 = load_gradient(gradient_base + row7 + column);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight0), query0_0, query_sum0), entry0 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight0), gradient0_0, gradient_sum0), entry0 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight1), query1_0, query_sum0), entry1 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight1), gradient1_0, gradient_sum0), entry1 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight2), query2_0, query_sum0), entry2 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight2), gradient2_0, gradient_sum0), entry2 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight3), query3_0, query_sum0), entry3 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight3), gradient3_0, gradient_sum0), entry3 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight4), query4_0, query_sum0), entry4 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight4), gradient4_0, gradient_sum0), entry4 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight5), query5_0, query_sum0), entry5 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight5), gradient5_0, gradient_sum0), entry5 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight6), query6_0, query_sum0), entry6 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight6), gradient6_0, gradient_sum0), entry6 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight7), query7_0, query_sum0), entry7 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight7), gradient7_0, gradient_sum0), entry7 < count);
    } }
    }
  }
}
// Adds up the lanes that hold the same columns.
fn add_parts() {
  query_sum0 += subgroupShuffleXor(query_sum0, 16u);
  gradient_sum0 += subgroupShuffleXor(gradient_sum0, 16u);
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32) {
  let piece = group_index(group, groups);
  if (piece >= params.pieces) { return; }
  let ends = piece_keys[piece];
  if (ends.x == 0u || ends.x != ends.y) { return; }
  let start = piece * params.piece_entries;
  gather(start, start + params.piece_entries, lane);
  add_parts();
  let at = piece * 32u;
  if (lane < 16u && (lane + 0u) < 16u) { sums[at + (lane + 0u)] = query_sum0; }
  if (lane < 16u && (lane + 0u) < 16u) { sums[at + 16u + (lane + 0u)] = gradient_sum0; }
}

// attention-backward keys {"headDim":64,"valueDim":64,"layout":{"width":4,"half":true},"subgroups":true}
enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params { keys: u32, piece_entries: u32, scale: f32, adds: u32, query_base: u32, gradient_base: u32, key_result_base: u32, value_result_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<vec2u>;
@group(0) @binding(2) var<storage, read> gradient: array<vec2u>;
@group(0) @binding(3) var<storage, read> sorted_rows: array<u32>;
@group(0) @binding(4) var<storage, read> sorted_weights: array<vec2f>;
@group(0) @binding(5) var<storage, read> ranges: array<vec2u>;
@group(0) @binding(6) var<storage, read> sums: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> key_result: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> value_result: array<vec4f>;
const INVOCATIONS = 32u;

fn load_query(at: u32) -> vec4f { return vec4f(unpack2x16float(query[at].x), unpack2x16float(query[at].y)); }
fn load_gradient(at: u32) -> vec4f { return vec4f(unpack2x16float(gradient[at].x), unpack2x16float(gradient[at].y)); }

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
var<private> query_sum0: vec4f;
var<private> gradient_sum0: vec4f;
// Adds list entries start .. end - 1, 32 at a time.
fn gather(start: u32, end: u32, lane: u32) {
  let query_base = params.query_base / 4u;
  let gradient_base = params.gradient_base / 4u;
  for (var at = start; at < end; at += INVOCATIONS) {
    let count = min(INVOCATIONS, end - at);
    let mine = at + min(lane, count - 1u);
    let row = sorted_rows[mine];
    let pair = sorted_weights[mine];
    if (count == INVOCATIONS) {
      { let part = lane / 16u;
    let column = lane % 16u;
    for (var first = 0u; first < 32u; first += 8u) {
    let entry0 = first + 0u + part;
    let row0 = subgroupShuffle(row, entry0) * 16u;
    let query_weight0 = subgroupShuffle(pair.y, entry0);
    let query0_0 = load_query(query_base + row0 + column);
    let gradient_weight0 = subgroupShuffle(pair.x, entry0);
    let gradient0_0 = load_gradient(gradient_base + row0 + column);
    let entry1 = first + 2u + part;
    let row1 = subgroupShuffle(row, entry1) * 16u;
    let query_weight1 = subgroupShuffle(pair.y, entry1);
    let query1_0 = load_query(query_base + row1 + column);
    let gradient_weight1 = subgroupShuffle(pair.x, entry1);
    let gradient1_0 = load_gradient(gradient_base + row1 + column);
    let entry2 = first + 4u + part;
    let row2 = subgroupShuffle(row, entry2) * 16u;
    let query_weight2 = subgroupShuffle(pair.y, entry2);
    let query2_0 = load_query(query_base + row2 + column);
    let gradient_weight2 = subgroupShuffle(pair.x, entry2);
    let gradient2_0 = load_gradient(gradient_base + row2 + column);
    let entry3 = first + 6u + part;
    let row3 = subgroupShuffle(row, entry3) * 16u;
    let query_weight3 = subgroupShuffle(pair.y, entry3);
    let query3_0 = load_query(query_base + row3 + column);
    let gradient_weight3 = subgroupShuffle(pair.x, entry3);
    let gradient3_0 = load_gradient(gradient_base + row3 + column);
    query_sum0 = fma(vec4f(query_weight0), query0_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight0), gradient0_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight1), query1_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight1), gradient1_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight2), query2_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight2), gradient2_0, gradient_sum0);
    query_sum0 = fma(vec4f(query_weight3), query3_0, query_sum0);
    gradient_sum0 = fma(vec4f(gradient_weight3), gradient3_0, gradient_sum0);
    } }
    } else {
      { let part = lane / 16u;
    let column = lane % 16u;
    for (var first = 0u; first < count; first += 8u) {
    let entry0 = first + 0u + part;
    let row0 = subgroupShuffle(row, entry0) * 16u;
    let query_weight0 = subgroupShuffle(pair.y, entry0);
    let query0_0 = load_query(query_base + row0 + column);
    let gradient_weight0 = subgroupShuffle(pair.x, entry0);
    let gradient0_0 = load_gradient(gradient_base + row0 + column);
    let entry1 = first + 2u + part;
    let row1 = subgroupShuffle(row, entry1) * 16u;
    let query_weight1 = subgroupShuffle(pair.y, entry1);
    let query1_0 = load_query(query_base + row1 + column);
    let gradient_weight1 = subgroupShuffle(pair.x, entry1);
    let gradient1_0 = load_gradient(gradient_base + row1 + column);
    let entry2 = first + 4u + part;
    let row2 = subgroupShuffle(row, entry2) * 16u;
    let query_weight2 = subgroupShuffle(pair.y, entry2);
    let query2_0 = load_query(query_base + row2 + column);
    let gradient_weight2 = subgroupShuffle(pair.x, entry2);
    let gradient2_0 = load_gradient(gradient_base + row2 + column);
    let entry3 = first + 6u + part;
    let row3 = subgroupShuffle(row, entry3) * 16u;
    let query_weight3 = subgroupShuffle(pair.y, entry3);
    let query3_0 = load_query(query_base + row3 + column);
    let gradient_weight3 = subgroupShuffle(pair.x, entry3);
    let gradient3_0 = load_gradient(gradient_base + row3 + column);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight0), query0_0, query_sum0), entry0 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight0), gradient0_0, gradient_sum0), entry0 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight1), query1_0, query_sum0), entry1 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight1), gradient1_0, gradient_sum0), entry1 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight2), query2_0, query_sum0), entry2 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight2), gradient2_0, gradient_sum0), entry2 < count);
    query_sum0 = select(query_sum0, fma(vec4f(query_weight3), query3_0, query_sum0), entry3 < count);
    gradient_sum0 = select(gradient_sum0, fma(vec4f(gradient_weight3), gradient3_0, gradient_sum0), entry3 < count);
    } }
    }
  }
}
// Adds up the lanes that hold the same columns.
fn add_parts() {
  query_sum0 += subgroupShuffleXor(query_sum0, 16u);
  gradient_sum0 += subgroupShuffleXor(gradient_sum0, 16u);
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32) {
  let key = group_index(group, groups);
  if (key >= params.keys) { return; }
  let start = ranges[key].x;
  let end = start + ranges[key].y;
  let first_piece = (start + params.piece_entries - 1u) / params.piece_entries;
  let end_piece = end / params.piece_entries;
  let has_pieces = end_piece > first_piece;
  gather(start, select(end, first_piece * params.piece_entries, has_pieces), lane);
  if (has_pieces) { gather(end_piece * params.piece_entries, end, lane); }
  add_parts();
  for (var piece = first_piece; piece < end_piece; piece++) {
    let at = piece * 32u;
    if (lane < 16u && (lane + 0u) < 16u) { query_sum0 += sums[at + (lane + 0u)]; }
  if (lane < 16u && (lane + 0u) < 16u) { gradient_sum0 += sums[at + 16u + (lane + 0u)]; }
  }
  if (lane < 16u && (lane + 0u) < 16u) { let at = params.key_result_base / 4u + key * 16u + (lane + 0u);
    var result = query_sum0 * params.scale;
    if (params.adds != 0u) { result += key_result[at]; }
    key_result[at] = result; }
  if (lane < 16u && (lane + 0u) < 16u) { let at = params.value_result_base / 4u + key * 16u + (lane + 0u);
    var result = gradient_sum0;
    if (params.adds != 0u) { result += value_result[at]; }
    value_result[at] = result; }
}
