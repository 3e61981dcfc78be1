enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params {
  query_base: u32, gradient_base: u32, keys: u32, piece_entries: u32,
  key_result_base: u32, value_result_base: u32, scale: f32, adds: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> query: array<vec4f>;
fn load_query(at: u32) -> vec4f { return query[at]; }

@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
fn load_gradient(at: u32) -> vec4f { return gradient[at]; }
@group(0) @binding(3) var<storage, read> sorted_rows: array<u32>;
@group(0) @binding(4) var<storage, read> sorted_weights: array<vec2f>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
var<private> query_sum0: vec4f;
var<private> gradient_sum0: vec4f;
// Adds list entries start .. end - 1, 32 at a time.
fn gather(start: u32, end: u32, lane: u32) {
  for (var at = start; at < end; at += 32u) {
    let count = min(32u, end - at);
    let mine = at + min(lane, count - 1u);
    let row = sorted_rows[mine];
    let pair = sorted_weights[mine];
    if (count == 32u) {
      { let part = lane / 16u;
    let column = lane % 16u;
    for (var first = 0u; first < 32u; first += 8u) {
    let entry0 = first + 0u + part;
    let row0 = subgroupShuffle(row, entry0) * 16u;
    let query_weight0 = subgroupShuffle(pair.y, entry0);
    let query0_0 = load_query(params.query_base + row0 + column);
    let gradient_weight0 = subgroupShuffle(pair.x, entry0);
    let gradient0_0 = load_gradient(params.gradient_base + row0 + column);
    let entry1 = first + 2u + part;
    let row1 = subgroupShuffle(row, entry1) * 16u;
    let query_weight1 = subgroupShuffle(pair.y, entry1);
    let query1_0 = load_query(params.query_base + row1 + column);
    let gradient_weight1 = subgroupShuffle(pair.x, entry1);
    let gradient1_0 = load_gradient(params.gradient_base + row1 + column);
    let entry2 = first + 4u + part;
    let row2 = subgroupShuffle(row, entry2) * 16u;
    let query_weight2 = subgroupShuffle(pair.y, entry2);
    let query2_0 = load_query(params.query_base + row2 + column);
    let gradient_weight2 = subgroupShuffle(pair.x, entry2);
    let gradient2_0 = load_gradient(params.gradient_base + row2 + column);
    let entry3 = first + 6u + part;
    let row3 = subgroupShuffle(row, entry3) * 16u;
    let query_weight3 = subgroupShuffle(pair.y, entry3);
    let query3_0 = load_query(params.query_base + row3 + column);
    let gradient_weight3 = subgroupShuffle(pair.x, entry3);
    let gradient3_0 = load_gradient(params.gradient_base + row3 + column);
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
    let query0_0 = load_query(params.query_base + row0 + column);
    let gradient_weight0 = subgroupShuffle(pair.x, entry0);
    let gradient0_0 = load_gradient(params.gradient_base + row0 + column);
    let entry1 = first + 2u + part;
    let row1 = subgroupShuffle(row, entry1) * 16u;
    let query_weight1 = subgroupShuffle(pair.y, entry1);
    let query1_0 = load_query(params.query_base + row1 + column);
    let gradient_weight1 = subgroupShuffle(pair.x, entry1);
    let gradient1_0 = load_gradient(params.gradient_base + row1 + column);
    let entry2 = first + 4u + part;
    let row2 = subgroupShuffle(row, entry2) * 16u;
    let query_weight2 = subgroupShuffle(pair.y, entry2);
    let query2_0 = load_query(params.query_base + row2 + column);
    let gradient_weight2 = subgroupShuffle(pair.x, entry2);
    let gradient2_0 = load_gradient(params.gradient_base + row2 + column);
    let entry3 = first + 6u + part;
    let row3 = subgroupShuffle(row, entry3) * 16u;
    let query_weight3 = subgroupShuffle(pair.y, entry3);
    let query3_0 = load_query(params.query_base + row3 + column);
    let gradient_weight3 = subgroupShuffle(pair.x, entry3);
    let gradient3_0 = load_gradient(params.gradient_base + row3 + column);
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
@group(0) @binding(5) var<storage, read> ranges: array<vec2u>;
@group(0) @binding(6) var<storage, read> sums: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> key_result: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> value_result: array<vec4f>;

@compute @workgroup_size(32)
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
  if (lane < 16u && (lane + 0u) < 16u) { let at = params.key_result_base + key * 16u + (lane + 0u);
    var result = query_sum0 * params.scale;
    if (params.adds != 0u) { result += key_result[at]; }
    key_result[at] = result; }
  if (lane < 16u && (lane + 0u) < 16u) { let at = params.value_result_base + key * 16u + (lane + 0u);
    var result = gradient_sum0;
    if (params.adds != 0u) { result += value_result[at]; }
    value_result[at] = result; }
}