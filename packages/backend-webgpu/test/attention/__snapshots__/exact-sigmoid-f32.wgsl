// exact {"tile":{"threads":128,"columns":8,"rows":4,"dims":8,"values":16},"headDim":64,"valueDim":64,"dtype":"f32","causal":true,"mask":false,"keyLengths":false,"bias":false,"relativeBias":false,"dropout":false,"sigmoid":true,"segmented":true}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, segments: u32, shift: f32, q_base: u32, k_base: u32, v_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;
const INVOCATIONS = 128u;

fn key_head_of(local_head: u32) -> u32 {
  return (params.first_head + local_head) / params.group - params.first_head / params.group;
}
var<workgroup> stage: array<vec4f, 256>;
var<workgroup> weights: array<vec4f, 512>;
var<workgroup> maxima: array<vec4f, 128>;
var<workgroup> hasBadValue: atomic<u32>;
fn loadQuery(start: u32, row: u32, column: u32) -> vec4f {
  if (column >= 64u) { return vec4f(0); }
  return q[(start + row * 64u + column) / 4u];
}
fn loadKey(start: u32, row: u32, column: u32) -> vec4f {
  if (column >= 64u) { return vec4f(0); }
  return k[(start + row * 64u + column) / 4u];
}
fn loadValue(start: u32, row: u32, column: u32) -> vec4f {
  if (column >= 64u) { return vec4f(0); }
  return v[(start + row * 64u + column) / 4u];
}
const LOWEST = -3.40282346e38;
const HIDDEN = 0xff800000u;
const UNSEEN = 0x80000000u;
fn notFinite(x: vec4f) -> vec4<bool> { return (bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u); }
fn isHidden(x: vec4f) -> vec4<bool> { return bitcast<vec4u>(x) == vec4u(HIDDEN); }

fn weights_of(scores: vec4f) -> vec4f {
  let x = scores + vec4f(params.shift);
  let tail = exp(max(-abs(x), vec4f(-1000.0)));
  return select(tail, vec4f(1.0), x >= vec4f(0.0)) / (vec4f(1.0) + tail);
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let tilesOfHead = (params.queries + 63u) / 64u;
  let index = group.x + group.y * groups.x;
  let segment = index / (tilesOfHead * params.heads);
  let job = index % (tilesOfHead * params.heads);
  if (segment >= params.segments) { return; }
  // Queries that see the most keys come first, so that no long tile is left for the end.
  let head = job / tilesOfHead;
  let tileQuery = params.first_query + (tilesOfHead - 1u - job % tilesOfHead) * 64u;
  let queryEnd = params.first_query + params.queries;
  let batch = (params.first_head + head) / params.query_heads;
  let headOfBatch = (params.first_head + head) % params.query_heads;
  let keyHead = key_head_of(head);
  let qStart = params.q_base + (head * params.query_length - params.first_query) * 64u;
  
  let kStart = params.k_base + keyHead * params.key_length * 64u;
  let vStart = params.v_base + keyHead * params.key_length * 64u;
  
  var visible = i32(params.key_length);
  
  // Keys below the first bound are valid for every query of the tile, from the second on for none.
  var allSee = visible;
  allSee = min(visible, i32(tileQuery) + params.query_start + 1);
visible = min(visible, i32(min(tileQuery + 64u, queryEnd)) + params.query_start);
  let keyTiles = u32(max(visible + 31, 0)) / 32u;
  let tx = thread % 8u;
  let ty = thread / 8u;
  if (thread == 0u) { atomicStore(&hasBadValue, 0u); }
  let query0 = tileQuery + ty * 4u + 0u;
  let query1 = tileQuery + ty * 4u + 1u;
  let query2 = tileQuery + ty * 4u + 2u;
  let query3 = tileQuery + ty * 4u + 3u;
  var top0 = LOWEST; var total0 = 0.0; var bad0 = false;
  var top1 = LOWEST; var total1 = 0.0; var bad1 = false;
  var top2 = LOWEST; var total2 = 0.0; var bad2 = false;
  var top3 = LOWEST; var total3 = 0.0; var bad3 = false;
  var sum0_0 = vec4f(0);  var sum0_1 = vec4f(0);
  var sum1_0 = vec4f(0);  var sum1_1 = vec4f(0);
  var sum2_0 = vec4f(0);  var sum2_1 = vec4f(0);
  var sum3_0 = vec4f(0);  var sum3_1 = vec4f(0);
  // Segments take tiles in turn: what runs together reads neighbouring memory, and causality leaves all of them alike.
  for (var keyTile = segment; keyTile < keyTiles; keyTile += params.segments) {
    let key0 = keyTile * 32u;

    var s0 = vec4f(0);
    var s1 = vec4f(0);
    var s2 = vec4f(0);
    var s3 = vec4f(0);
    for (var dim0 = 0u; dim0 < 64u; dim0 += 8u) {
    workgroupBarrier();
    for (var i = thread; i < 32u; i += 128u) {
      let dim = dim0 + 4u * (i % 2u);
      let row = tileQuery + 4u * (i / 2u);
      let block = transpose(mat4x4f(select(vec4f(0), loadQuery(qStart, min(row + 0u, queryEnd - 1u), dim), row + 0u < queryEnd), select(vec4f(0), loadQuery(qStart, min(row + 1u, queryEnd - 1u), dim), row + 1u < queryEnd), select(vec4f(0), loadQuery(qStart, min(row + 2u, queryEnd - 1u), dim), row + 2u < queryEnd), select(vec4f(0), loadQuery(qStart, min(row + 3u, queryEnd - 1u), dim), row + 3u < queryEnd)));
      let at = 0u + 4u * (i % 2u) * 17u + i / 2u;
      stage[at + 0u] = block[0]; stage[at + 17u] = block[1]; stage[at + 34u] = block[2]; stage[at + 51u] = block[3];
    }
    for (var i = thread; i < 16u; i += 128u) {
      let dim = dim0 + 4u * (i % 2u);
      let row = key0 + 4u * (i / 2u);
      let block = transpose(mat4x4f(select(vec4f(0), loadKey(kStart, min(row + 0u, params.key_length - 1u), dim), row + 0u < params.key_length), select(vec4f(0), loadKey(kStart, min(row + 1u, params.key_length - 1u), dim), row + 1u < params.key_length), select(vec4f(0), loadKey(kStart, min(row + 2u, params.key_length - 1u), dim), row + 2u < params.key_length), select(vec4f(0), loadKey(kStart, min(row + 3u, params.key_length - 1u), dim), row + 3u < params.key_length)));
      let at = 136u + 4u * (i % 2u) * 9u + i / 2u;
      stage[at + 0u] = block[0]; stage[at + 9u] = block[1]; stage[at + 18u] = block[2]; stage[at + 27u] = block[3];
    }
    workgroupBarrier();
    for (var dim = 0u; dim < 8u; dim++) {
      let a0 = stage[dim * 17u + ty + 0u];
      let b = stage[136u + dim * 9u + tx];
      s0 = fma(vec4f(a0[0]), b, s0);
      s1 = fma(vec4f(a0[1]), b, s1);
      s2 = fma(vec4f(a0[2]), b, s2);
      s3 = fma(vec4f(a0[3]), b, s3);
    }
    }
    s0 *= params.scale;
    s1 *= params.scale;
    s2 *= params.scale;
    s3 *= params.scale;
    let hidden = bitcast<f32>(HIDDEN + (params.heads & 0u));
    let unseen = bitcast<f32>(UNSEEN + (params.heads & 0u));
    if (i32(key0) + 32 > allSee) {
      { var seen = vec4i((vec4u(key0 + 4u * tx) + vec4u(0, 1, 2, 3))) < vec4i(min(visible, i32(query0) + params.query_start + 1));
      
      s0 = select(vec4f(hidden), s0, seen); }
      { var seen = vec4i((vec4u(key0 + 4u * tx) + vec4u(0, 1, 2, 3))) < vec4i(min(visible, i32(query1) + params.query_start + 1));
      
      s1 = select(vec4f(hidden), s1, seen); }
      { var seen = vec4i((vec4u(key0 + 4u * tx) + vec4u(0, 1, 2, 3))) < vec4i(min(visible, i32(query2) + params.query_start + 1));
      
      s2 = select(vec4f(hidden), s2, seen); }
      { var seen = vec4i((vec4u(key0 + 4u * tx) + vec4u(0, 1, 2, 3))) < vec4i(min(visible, i32(query3) + params.query_start + 1));
      
      s3 = select(vec4f(hidden), s3, seen); }
    }
    if (any(notFinite(s0))) {
      let wrong = notFinite(s0) & !isHidden(s0);
      bad0 = bad0 | any(wrong);
      s0 = select(s0, vec4f(hidden), wrong);
    }
    if (any(notFinite(s1))) {
      let wrong = notFinite(s1) & !isHidden(s1);
      bad1 = bad1 | any(wrong);
      s1 = select(s1, vec4f(hidden), wrong);
    }
    if (any(notFinite(s2))) {
      let wrong = notFinite(s2) & !isHidden(s2);
      bad2 = bad2 | any(wrong);
      s2 = select(s2, vec4f(hidden), wrong);
    }
    if (any(notFinite(s3))) {
      let wrong = notFinite(s3) & !isHidden(s3);
      bad3 = bad3 | any(wrong);
      s3 = select(s3, vec4f(hidden), wrong);
    }
    { let isOut = isHidden(s0); let w = weights_of(select(s0, vec4f(0), isOut));
      weights[(ty * 4u + 0u) * 8u + tx] = select(w, vec4f(unseen), isOut); }
    { let isOut = isHidden(s1); let w = weights_of(select(s1, vec4f(0), isOut));
      weights[(ty * 4u + 1u) * 8u + tx] = select(w, vec4f(unseen), isOut); }
    { let isOut = isHidden(s2); let w = weights_of(select(s2, vec4f(0), isOut));
      weights[(ty * 4u + 2u) * 8u + tx] = select(w, vec4f(unseen), isOut); }
    { let isOut = isHidden(s3); let w = weights_of(select(s3, vec4f(0), isOut));
      weights[(ty * 4u + 3u) * 8u + tx] = select(w, vec4f(unseen), isOut); }

    for (var quad0 = 0u; quad0 < 8u; quad0 += 4u) {
    workgroupBarrier();
    for (var i = thread; i < 256u; i += 128u) {
      let key = key0 + quad0 * 4u + i / 16u;
      let column = 4u * (i % 16u);
      let value = select(vec4f(0), loadValue(vStart, min(key, params.key_length - 1u), column), key < params.key_length);
      if (any(notFinite(value))) { atomicStore(&hasBadValue, 1u); }
      stage[i] = value;
    }
    workgroupBarrier();
    if (atomicLoad(&hasBadValue) == 0u) {
    for (var quad = quad0; quad < quad0 + 4u; quad++) {
      let w0 = weights[(ty * 4u + 0u) * 8u + quad];
      let w1 = weights[(ty * 4u + 1u) * 8u + quad];
      let w2 = weights[(ty * 4u + 2u) * 8u + quad];
      let w3 = weights[(ty * 4u + 3u) * 8u + quad];
      let v0_0 = stage[((quad - quad0) * 4u + 0u) * 16u + tx + 0u];
      let v0_1 = stage[((quad - quad0) * 4u + 0u) * 16u + tx + 8u];
      let v1_0 = stage[((quad - quad0) * 4u + 1u) * 16u + tx + 0u];
      let v1_1 = stage[((quad - quad0) * 4u + 1u) * 16u + tx + 8u];
      let v2_0 = stage[((quad - quad0) * 4u + 2u) * 16u + tx + 0u];
      let v2_1 = stage[((quad - quad0) * 4u + 2u) * 16u + tx + 8u];
      let v3_0 = stage[((quad - quad0) * 4u + 3u) * 16u + tx + 0u];
      let v3_1 = stage[((quad - quad0) * 4u + 3u) * 16u + tx + 8u];
      sum0_0 = fma(vec4f(w0[0]), v0_0, sum0_0);
      sum0_1 = fma(vec4f(w0[0]), v0_1, sum0_1);
      sum0_0 = fma(vec4f(w0[1]), v1_0, sum0_0);
      sum0_1 = fma(vec4f(w0[1]), v1_1, sum0_1);
      sum0_0 = fma(vec4f(w0[2]), v2_0, sum0_0);
      sum0_1 = fma(vec4f(w0[2]), v2_1, sum0_1);
      sum0_0 = fma(vec4f(w0[3]), v3_0, sum0_0);
      sum0_1 = fma(vec4f(w0[3]), v3_1, sum0_1);
      sum1_0 = fma(vec4f(w1[0]), v0_0, sum1_0);
      sum1_1 = fma(vec4f(w1[0]), v0_1, sum1_1);
      sum1_0 = fma(vec4f(w1[1]), v1_0, sum1_0);
      sum1_1 = fma(vec4f(w1[1]), v1_1, sum1_1);
      sum1_0 = fma(vec4f(w1[2]), v2_0, sum1_0);
      sum1_1 = fma(vec4f(w1[2]), v2_1, sum1_1);
      sum1_0 = fma(vec4f(w1[3]), v3_0, sum1_0);
      sum1_1 = fma(vec4f(w1[3]), v3_1, sum1_1);
      sum2_0 = fma(vec4f(w2[0]), v0_0, sum2_0);
      sum2_1 = fma(vec4f(w2[0]), v0_1, sum2_1);
      sum2_0 = fma(vec4f(w2[1]), v1_0, sum2_0);
      sum2_1 = fma(vec4f(w2[1]), v1_1, sum2_1);
      sum2_0 = fma(vec4f(w2[2]), v2_0, sum2_0);
      sum2_1 = fma(vec4f(w2[2]), v2_1, sum2_1);
      sum2_0 = fma(vec4f(w2[3]), v3_0, sum2_0);
      sum2_1 = fma(vec4f(w2[3]), v3_1, sum2_1);
      sum3_0 = fma(vec4f(w3[0]), v0_0, sum3_0);
      sum3_1 = fma(vec4f(w3[0]), v0_1, sum3_1);
      sum3_0 = fma(vec4f(w3[1]), v1_0, sum3_0);
      sum3_1 = fma(vec4f(w3[1]), v1_1, sum3_1);
      sum3_0 = fma(vec4f(w3[2]), v2_0, sum3_0);
      sum3_1 = fma(vec4f(w3[2]), v2_1, sum3_1);
      sum3_0 = fma(vec4f(w3[3]), v3_0, sum3_0);
      sum3_1 = fma(vec4f(w3[3]), v3_1, sum3_1);
    }
    } else {
    // 0 * NaN is NaN: hidden keys are left out. Rare, so the text is short.
    for (var at = 0u; at < 16u; at++) {
      let v0 = stage[at * 16u + tx + 0u];
      let v1 = stage[at * 16u + tx + 8u];
      let w0 = weights[(ty * 4u + 0u) * 8u + quad0 + at / 4u][at & 3u];
      let w1 = weights[(ty * 4u + 1u) * 8u + quad0 + at / 4u][at & 3u];
      let w2 = weights[(ty * 4u + 2u) * 8u + quad0 + at / 4u][at & 3u];
      let w3 = weights[(ty * 4u + 3u) * 8u + quad0 + at / 4u][at & 3u];
      if (bitcast<u32>(w0) != UNSEEN) { sum0_0 += w0 * v0; sum0_1 += w0 * v1; }
      if (bitcast<u32>(w1) != UNSEEN) { sum1_0 += w1 * v0; sum1_1 += w1 * v1; }
      if (bitcast<u32>(w2) != UNSEEN) { sum2_0 += w2 * v0; sum2_1 += w2 * v1; }
      if (bitcast<u32>(w3) != UNSEEN) { sum3_0 += w3 * v0; sum3_1 += w3 * v1; }
    }
    }
    }
  }
  workgroupBarrier();
  maxima[tx * 16u + ty + 0u] = vec4f(total0, total1, total2, total3);
  workgroupBarrier();
  let all0 = maxima[0u + ty + 0u] + maxima[16u + ty + 0u] + maxima[32u + ty + 0u] + maxima[48u + ty + 0u] + maxima[64u + ty + 0u] + maxima[80u + ty + 0u] + maxima[96u + ty + 0u] + maxima[112u + ty + 0u];
  workgroupBarrier();
  maxima[tx * 16u + ty + 0u] = vec4f(select(0.0, 1.0, bad0), select(0.0, 1.0, bad1), select(0.0, 1.0, bad2), select(0.0, 1.0, bad3));
  workgroupBarrier();
  let wrong0 = maxima[0u + ty + 0u] + maxima[16u + ty + 0u] + maxima[32u + ty + 0u] + maxima[48u + ty + 0u] + maxima[64u + ty + 0u] + maxima[80u + ty + 0u] + maxima[96u + ty + 0u] + maxima[112u + ty + 0u];
  if (query0 < queryEnd) {
    let row = (segment * params.heads + head) * params.queries + query0 - params.first_query;
    if (tx + 0u < 16u) { sums[row * 17u + tx + 0u] = sum0_0; }
    if (tx + 8u < 16u) { sums[row * 17u + tx + 8u] = sum0_1; }
    if (tx == 0u) { sums[row * 17u + 16u] = vec4f(top0, all0[0], wrong0[0], 0.0); }
  }
  if (query1 < queryEnd) {
    let row = (segment * params.heads + head) * params.queries + query1 - params.first_query;
    if (tx + 0u < 16u) { sums[row * 17u + tx + 0u] = sum1_0; }
    if (tx + 8u < 16u) { sums[row * 17u + tx + 8u] = sum1_1; }
    if (tx == 0u) { sums[row * 17u + 16u] = vec4f(top1, all0[1], wrong0[1], 0.0); }
  }
  if (query2 < queryEnd) {
    let row = (segment * params.heads + head) * params.queries + query2 - params.first_query;
    if (tx + 0u < 16u) { sums[row * 17u + tx + 0u] = sum2_0; }
    if (tx + 8u < 16u) { sums[row * 17u + tx + 8u] = sum2_1; }
    if (tx == 0u) { sums[row * 17u + 16u] = vec4f(top2, all0[2], wrong0[2], 0.0); }
  }
  if (query3 < queryEnd) {
    let row = (segment * params.heads + head) * params.queries + query3 - params.first_query;
    if (tx + 0u < 16u) { sums[row * 17u + tx + 0u] = sum3_0; }
    if (tx + 8u < 16u) { sums[row * 17u + tx + 8u] = sum3_1; }
    if (tx == 0u) { sums[row * 17u + 16u] = vec4f(top3, all0[3], wrong0[3], 0.0); }
  }
}

// exact join segments {"valueDim":64,"dtype":"f32","sigmoid":true}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, segments: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
const INVOCATIONS = 256u;

var<workgroup> sums: array<vec4f, INVOCATIONS>;
var<workgroup> totals: array<vec2f, INVOCATIONS>;

fn storeOutput(start: u32, row: u32, column: u32, value: vec4f) { if (column < 64u) { out[(start + row * 64u + column) / 4u] = value; } }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  let rows = params.heads * params.queries;
  if (row >= rows) { return; }
  let four = t % 16u;
  let lane = t / 16u;
  var top = -3.40282346e38;
  for (var segment = 0u; segment < params.segments; segment++) {
    top = max(top, parts[(segment * rows + row) * 17u + 16u].x);
  }
  var sum = vec4f();
  var total = vec2f();
  if (lane < 16u) {
    for (var segment = lane; segment < params.segments; segment += 16u) {
      let at = (segment * rows + row) * 17u;
      let of_row = parts[at + 16u];
      let fade = exp(max(of_row.x - top, -1000.0));
      sum += fade * parts[at + four];
      total += vec2f(fade * of_row.y, of_row.z);
    }
  }
  sums[t] = sum;
  totals[t] = total;
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var other = 1u; other < 16u; other++) {
    sum += sums[other * 16u + four];
    total += totals[other * 16u + four];
  }
  let nan = bitcast<f32>(0x7fc00000u + (params.heads & 0u));
  let share = 1.0;
  let start = params.out_base + row / params.queries * params.query_length * 64u;
  storeOutput(start, row % params.queries, 4u * four, select(sum * share, vec4f(nan), vec4<bool>(total.y > 0.0)));
}
