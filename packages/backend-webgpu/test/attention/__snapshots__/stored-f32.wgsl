// attention scores {"headDim":64,"dtype":"f32","causal":true,"keyLengths":false,"mask":true,"bias":false,"relativeBias":false,"rows":64}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, q_base: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4u>;
@group(0) @binding(4) var<storage, read> mask: array<u32>;
const INVOCATIONS = 128u;


struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn visible_of(row: Row) -> u32 {
  var visible = params.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u) + params.query_start)));
  
  return visible;
}

const HIDDEN = 0xff800000u;



fn score_of(dot_product: f32, row: Row, key: u32, visible: u32) -> u32 {
  if (key >= visible) { return HIDDEN; }
  if (mask[dot(params.mask_stride, vec4u(row.batch, row.head, row.query, key))] == 0u) { return HIDDEN; }
  var added = 0.0;
  
  
  return bitcast<u32>(params.scale * dot_product);
}
fn scores_of(dots: vec4f, row: Row, first_key: u32, visible: u32) -> vec4u {
  let keys = first_key + vec4u(0u, 1u, 2u, 3u);
  let bits = vec4u(
    score_of(dots.x, row, keys.x, visible), score_of(dots.y, row, keys.y, visible),
    score_of(dots.z, row, keys.z, visible), score_of(dots.w, row, keys.w, visible),
  );
  return select(vec4u(HIDDEN), bits, keys < vec4u(visible));
}

fn load_query(row: u32, quad: u32) -> vec4f {
  
  return q[params.q_base / 4u + row * 16u + quad];
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  return k[params.k_base / 4u + row * 16u + quad];
}

// [dim][row / 4] and [dim][key / 4]; quads are swapped by dim so that neither writing nor reading meets in one bank.
// Arrays of arrays: a constant first index needs no check of its bound.
var<workgroup> query_tile: array<array<vec4f, 16>, 16>;
var<workgroup> key_tile: array<array<vec4f, 32>, 16>;

/** The row of q that row `row` of a key head's rows is: all queries of one head of its group, then of the next. */
fn query_row(key_head: u32, row: u32) -> u32 {
  let at = min(row, params.group * params.queries - 1u);
  return (key_head * params.group + at / params.queries) * params.query_length + at % params.queries;
}

fn store_row(row_index: u32, rows: u32, key_head: u32, first_key: u32, near: vec4f, far: vec4f) {
  if (row_index >= rows) { return; }
  let row = row_at(key_head * rows + row_index);
  let visible = visible_of(row);
  let stride = (params.key_length + 3u) / 4u;
  let at = (key_head * rows + row_index) * stride + first_key / 4u;
  if (first_key < visible) { scores[at] = scores_of(near, row, first_key, visible); }
  if (first_key + 64u < visible) { scores[at + 16u] = scores_of(far, row, first_key + 64u, visible); }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = params.group * params.queries;
  let key_tiles = (params.visible_keys + 127u) / 128u;
  let row_tiles = (rows + 63u) / 64u;
  let job = id.x + id.y * groups.x;
  if (job >= key_tiles * row_tiles * (params.heads / params.group)) { return; }
  let first_key = 128u * (job % key_tiles);
  let first_row = 64u * (job / key_tiles % row_tiles);
  let key_head = job / key_tiles / row_tiles;
  
  // Invocations that run together: four rows of eight, so that they share what they read of both tiles.
  let tx = t % 8u + t / 32u % 2u * 8u;
  let ty = t / 8u % 4u + t / 64u * 4u;
  let stage_c = t % 4u;
  let stage_r = t / 4u % 32u;
  let stage_place = stage_r ^ (2u * stage_c);
  let query_row_0 = query_row(key_head, first_row + 4u * stage_r + 0u);
  let query_row_1 = query_row(key_head, first_row + 4u * stage_r + 1u);
  let query_row_2 = query_row(key_head, first_row + 4u * stage_r + 2u);
  let query_row_3 = query_row(key_head, first_row + 4u * stage_r + 3u);
  var key_row_0 = 0u; var key_row_1 = 0u; var key_row_2 = 0u; var key_row_3 = 0u;
  var fetched: mat4x4f;
  key_row_0 = key_head * params.key_length
    + min(first_key + 4u * stage_r + 0u, params.key_length - 1u);
  key_row_1 = key_head * params.key_length
    + min(first_key + 4u * stage_r + 1u, params.key_length - 1u);
  key_row_2 = key_head * params.key_length
    + min(first_key + 4u * stage_r + 2u, params.key_length - 1u);
  key_row_3 = key_head * params.key_length
    + min(first_key + 4u * stage_r + 3u, params.key_length - 1u);
  fetched = mat4x4f(load_key(key_row_0, 4u * (0u) + stage_c), load_key(key_row_1, 4u * (0u) + stage_c), load_key(key_row_2, 4u * (0u) + stage_c), load_key(key_row_3, 4u * (0u) + stage_c));
  
    var dots_0_0 = vec4f(); var dots_0_1 = vec4f();
    var dots_1_0 = vec4f(); var dots_1_1 = vec4f();
    var dots_2_0 = vec4f(); var dots_2_1 = vec4f();
    var dots_3_0 = vec4f(); var dots_3_1 = vec4f();
    var dots_4_0 = vec4f(); var dots_4_1 = vec4f();
    var dots_5_0 = vec4f(); var dots_5_1 = vec4f();
    var dots_6_0 = vec4f(); var dots_6_1 = vec4f();
    var dots_7_0 = vec4f(); var dots_7_1 = vec4f();
    for (var slice = 0u; slice < 4u; slice++) {
      let turned = transpose(fetched);
      workgroupBarrier();
      key_tile[4u * stage_c + 0u][stage_place] = turned[0]; key_tile[4u * stage_c + 1u][stage_place] = turned[1]; key_tile[4u * stage_c + 2u][stage_place] = turned[2]; key_tile[4u * stage_c + 3u][stage_place] = turned[3];
      if (t < 64u) {
        let turned = transpose(mat4x4f(load_query(query_row_0, 4u * slice + stage_c), load_query(query_row_1, 4u * slice + stage_c), load_query(query_row_2, 4u * slice + stage_c), load_query(query_row_3, 4u * slice + stage_c)));
        query_tile[4u * stage_c + 0u][stage_place] = turned[0]; query_tile[4u * stage_c + 1u][stage_place] = turned[1]; query_tile[4u * stage_c + 2u][stage_place] = turned[2]; query_tile[4u * stage_c + 3u][stage_place] = turned[3];
      }
      workgroupBarrier();
      if (slice + 1u < 4u) {
        fetched = mat4x4f(load_key(key_row_0, 4u * (slice + 1u) + stage_c), load_key(key_row_1, 4u * (slice + 1u) + stage_c), load_key(key_row_2, 4u * (slice + 1u) + stage_c), load_key(key_row_3, 4u * (slice + 1u) + stage_c));
      } else {
        
        fetched = mat4x4f(load_key(key_row_0, 4u * (0u) + stage_c), load_key(key_row_1, 4u * (0u) + stage_c), load_key(key_row_2, 4u * (0u) + stage_c), load_key(key_row_3, 4u * (0u) + stage_c));
      }
      for (var turn = 0u; turn < 4u; turn++) {
      {
      let a0 = query_tile[4u * turn + 0u][(ty ^ (2u * turn))];
      let a1 = query_tile[4u * turn + 0u][8u + (ty ^ (2u * turn))];
      let b0 = key_tile[4u * turn + 0u][(tx ^ (2u * turn))];
      let b1 = key_tile[4u * turn + 0u][16u + (tx ^ (2u * turn))];
      dots_0_0 = fma(vec4f(a0.x), b0, dots_0_0); dots_0_1 = fma(vec4f(a0.x), b1, dots_0_1);
      dots_1_0 = fma(vec4f(a0.y), b0, dots_1_0); dots_1_1 = fma(vec4f(a0.y), b1, dots_1_1);
      dots_2_0 = fma(vec4f(a0.z), b0, dots_2_0); dots_2_1 = fma(vec4f(a0.z), b1, dots_2_1);
      dots_3_0 = fma(vec4f(a0.w), b0, dots_3_0); dots_3_1 = fma(vec4f(a0.w), b1, dots_3_1);
      dots_4_0 = fma(vec4f(a1.x), b0, dots_4_0); dots_4_1 = fma(vec4f(a1.x), b1, dots_4_1);
      dots_5_0 = fma(vec4f(a1.y), b0, dots_5_0); dots_5_1 = fma(vec4f(a1.y), b1, dots_5_1);
      dots_6_0 = fma(vec4f(a1.z), b0, dots_6_0); dots_6_1 = fma(vec4f(a1.z), b1, dots_6_1);
      dots_7_0 = fma(vec4f(a1.w), b0, dots_7_0); dots_7_1 = fma(vec4f(a1.w), b1, dots_7_1);
    }
      {
      let a0 = query_tile[4u * turn + 1u][(ty ^ (2u * turn))];
      let a1 = query_tile[4u * turn + 1u][8u + (ty ^ (2u * turn))];
      let b0 = key_tile[4u * turn + 1u][(tx ^ (2u * turn))];
      let b1 = key_tile[4u * turn + 1u][16u + (tx ^ (2u * turn))];
      dots_0_0 = fma(vec4f(a0.x), b0, dots_0_0); dots_0_1 = fma(vec4f(a0.x), b1, dots_0_1);
      dots_1_0 = fma(vec4f(a0.y), b0, dots_1_0); dots_1_1 = fma(vec4f(a0.y), b1, dots_1_1);
      dots_2_0 = fma(vec4f(a0.z), b0, dots_2_0); dots_2_1 = fma(vec4f(a0.z), b1, dots_2_1);
      dots_3_0 = fma(vec4f(a0.w), b0, dots_3_0); dots_3_1 = fma(vec4f(a0.w), b1, dots_3_1);
      dots_4_0 = fma(vec4f(a1.x), b0, dots_4_0); dots_4_1 = fma(vec4f(a1.x), b1, dots_4_1);
      dots_5_0 = fma(vec4f(a1.y), b0, dots_5_0); dots_5_1 = fma(vec4f(a1.y), b1, dots_5_1);
      dots_6_0 = fma(vec4f(a1.z), b0, dots_6_0); dots_6_1 = fma(vec4f(a1.z), b1, dots_6_1);
      dots_7_0 = fma(vec4f(a1.w), b0, dots_7_0); dots_7_1 = fma(vec4f(a1.w), b1, dots_7_1);
    }
      {
      let a0 = query_tile[4u * turn + 2u][(ty ^ (2u * turn))];
      let a1 = query_tile[4u * turn + 2u][8u + (ty ^ (2u * turn))];
      let b0 = key_tile[4u * turn + 2u][(tx ^ (2u * turn))];
      let b1 = key_tile[4u * turn + 2u][16u + (tx ^ (2u * turn))];
      dots_0_0 = fma(vec4f(a0.x), b0, dots_0_0); dots_0_1 = fma(vec4f(a0.x), b1, dots_0_1);
      dots_1_0 = fma(vec4f(a0.y), b0, dots_1_0); dots_1_1 = fma(vec4f(a0.y), b1, dots_1_1);
      dots_2_0 = fma(vec4f(a0.z), b0, dots_2_0); dots_2_1 = fma(vec4f(a0.z), b1, dots_2_1);
      dots_3_0 = fma(vec4f(a0.w), b0, dots_3_0); dots_3_1 = fma(vec4f(a0.w), b1, dots_3_1);
      dots_4_0 = fma(vec4f(a1.x), b0, dots_4_0); dots_4_1 = fma(vec4f(a1.x), b1, dots_4_1);
      dots_5_0 = fma(vec4f(a1.y), b0, dots_5_0); dots_5_1 = fma(vec4f(a1.y), b1, dots_5_1);
      dots_6_0 = fma(vec4f(a1.z), b0, dots_6_0); dots_6_1 = fma(vec4f(a1.z), b1, dots_6_1);
      dots_7_0 = fma(vec4f(a1.w), b0, dots_7_0); dots_7_1 = fma(vec4f(a1.w), b1, dots_7_1);
    }
      {
      let a0 = query_tile[4u * turn + 3u][(ty ^ (2u * turn))];
      let a1 = query_tile[4u * turn + 3u][8u + (ty ^ (2u * turn))];
      let b0 = key_tile[4u * turn + 3u][(tx ^ (2u * turn))];
      let b1 = key_tile[4u * turn + 3u][16u + (tx ^ (2u * turn))];
      dots_0_0 = fma(vec4f(a0.x), b0, dots_0_0); dots_0_1 = fma(vec4f(a0.x), b1, dots_0_1);
      dots_1_0 = fma(vec4f(a0.y), b0, dots_1_0); dots_1_1 = fma(vec4f(a0.y), b1, dots_1_1);
      dots_2_0 = fma(vec4f(a0.z), b0, dots_2_0); dots_2_1 = fma(vec4f(a0.z), b1, dots_2_1);
      dots_3_0 = fma(vec4f(a0.w), b0, dots_3_0); dots_3_1 = fma(vec4f(a0.w), b1, dots_3_1);
      dots_4_0 = fma(vec4f(a1.x), b0, dots_4_0); dots_4_1 = fma(vec4f(a1.x), b1, dots_4_1);
      dots_5_0 = fma(vec4f(a1.y), b0, dots_5_0); dots_5_1 = fma(vec4f(a1.y), b1, dots_5_1);
      dots_6_0 = fma(vec4f(a1.z), b0, dots_6_0); dots_6_1 = fma(vec4f(a1.z), b1, dots_6_1);
      dots_7_0 = fma(vec4f(a1.w), b0, dots_7_0); dots_7_1 = fma(vec4f(a1.w), b1, dots_7_1);
    }
      }
    }
  store_row(first_row + (4u * ty + 0u), rows, key_head, first_key + 4u * tx, dots_0_0, dots_0_1);
  store_row(first_row + (4u * ty + 1u), rows, key_head, first_key + 4u * tx, dots_1_0, dots_1_1);
  store_row(first_row + (4u * ty + 2u), rows, key_head, first_key + 4u * tx, dots_2_0, dots_2_1);
  store_row(first_row + (4u * ty + 3u), rows, key_head, first_key + 4u * tx, dots_3_0, dots_3_1);
  store_row(first_row + (4u * ty + 32u), rows, key_head, first_key + 4u * tx, dots_4_0, dots_4_1);
  store_row(first_row + (4u * ty + 33u), rows, key_head, first_key + 4u * tx, dots_5_0, dots_5_1);
  store_row(first_row + (4u * ty + 34u), rows, key_head, first_key + 4u * tx, dots_6_0, dots_6_1);
  store_row(first_row + (4u * ty + 35u), rows, key_head, first_key + 4u * tx, dots_7_0, dots_7_1);
}

// attention stored select {"causal":true,"keyLengths":false,"from":"row"}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, k: u32, score_stride: u32, list_rows_per_head: u32, segments: u32, segment_keys: u32, indices_base: u32, list_scores_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> list_scores: array<u32>;
const INVOCATIONS = 256u;


struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn visible_of(row: Row) -> u32 {
  var visible = params.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u) + params.query_start)));
  
  return visible;
}

const NONE = 0xffffffffu;
const NAN_BITS = 0x7fc00000u;

var<private> list: u32;
/** Where the row begins among the scores, and the key of its first score. */
var<private> row_start: u32;
var<private> first_key = 0u;

fn score_bits(at: u32) -> u32 {
  return scores[at];
}

fn keep(slot: u32, key: u32, bits: u32) {
  indices[params.indices_base + list + slot] = first_key + key;
  list_scores[params.list_scores_base + list + slot] = bits;
}


const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}
const NAN_ROW = 0xffffffffu;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> sums: array<vec2u, 2u * INVOCATIONS>;
var<workgroup> has_nan: atomic<u32>;
/** The digit of the k-th key, how many keys have a larger one, how many there are, whether one is NaN. */
var<workgroup> chosen: vec4u;

/** Sums over the invocations up to and with this one. */
fn inclusive_sum(t: u32, value: vec2u) -> vec2u {
  var sum = value;
  var side = 0u;
  sums[t] = sum;
  workgroupBarrier();
  for (var reach = 1u; reach < INVOCATIONS; reach *= 2u) {
    if (t >= reach) { sum += sums[side + t - reach]; }
    side = INVOCATIONS - side;
    sums[side + t] = sum;
    workgroupBarrier();
  }
  return sum;
}

/** Counts the digit at `shift` of all keys that begin with `prefix` and finds the one with the `wanted`-th largest. */
fn choose_digit(t: u32, start: u32, visible: u32, shift: u32, prefix: u32, wanted: u32) -> vec4u {
  atomicStore(&histogram[t], 0u);
  if (t == 0u) { atomicStore(&has_nan, 0u); }
  workgroupBarrier();
  for (var j = t; j < visible; j += INVOCATIONS) {
    let bits = score_bits(start + j);
    if ((bits & 0x7fffffffu) > 0x7f800000u) { atomicOr(&has_nan, 1u); }
    let key = key_of(bits);
    // In two steps: a shift by 32 is none.
    if (bits != MINUS_INF_BITS && (((key ^ prefix) >> shift) >> 8u) == 0u) {
      atomicAdd(&histogram[(key >> shift) & 255u], 1u);
    }
  }
  workgroupBarrier();
  let digit = 255u - t;
  let count = atomicLoad(&histogram[digit]);
  let reached = inclusive_sum(t, vec2u(count, 0u)).x;
  if (t == 255u) { chosen = vec4u(0u, 0u, reached, atomicLoad(&has_nan)); }
  workgroupBarrier();
  if (reached >= wanted && reached - count < wanted) {
    chosen.x = digit;
    chosen.y = reached - count;
  }
  return workgroupUniformLoad(&chosen);
}

fn select_row(t: u32, start: u32, visible: u32, k: u32) -> u32 {
  let first = choose_digit(t, start, visible, 24u, 0u, k);
  if (first.w != 0u) { return NAN_ROW; }
  // Everything valid is kept when there is no more than k of it: no valid key has the key 0.
  var threshold = 0u;
  var ties = 0u;
  if (first.z > k) {
    threshold = first.x << 24u;
    ties = k - first.y;
    for (var shift = 16i; shift >= 0i; shift -= 8i) {
      let next = choose_digit(t, start, visible, u32(shift), threshold, ties);
      threshold |= next.x << u32(shift);
      ties -= next.y;
    }
  }
  // Every invocation writes the kept keys of a run of keys, behind those of the runs before it.
  let run = (visible + (INVOCATIONS - 1u)) / INVOCATIONS;
  let begin = min(t * run, visible);
  let end = min(begin + run, visible);
  var above = 0u;
  var equal = 0u;
  for (var j = begin; j < end; j++) {
    let bits = score_bits(start + j);
    if (bits == MINUS_INF_BITS) { continue; }
    let key = key_of(bits);
    if (key > threshold) { above++; } else if (key == threshold) { equal++; }
  }
  let sum = inclusive_sum(t, vec2u(above, equal));
  let equal_before = sum.y - equal;
  var equal_left = max(ties, equal_before) - equal_before;
  var slot = sum.x - above + min(ties, equal_before);
  for (var j = begin; j < end; j++) {
    let bits = score_bits(start + j);
    if (bits == MINUS_INF_BITS) { continue; }
    let key = key_of(bits);
    if (key < threshold || (key == threshold && equal_left == 0u)) { continue; }
    if (key == threshold) { equal_left--; }
    keep(slot, j, bits);
    slot++;
  }
  return min(first.z, k);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let job = id.x + id.y * groups.x;
  let index = job;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let k = params.k;
  list = (row.local_head * params.list_rows_per_head + row.local_query) * k;
  
  row_start = index * params.score_stride;
  let kept = select_row(t, row_start + first_key, visible_of(row), k);
  let empty = select(MINUS_INF_BITS, NAN_BITS, kept == NAN_ROW);
  for (var slot = t + select(kept, 0u, kept == NAN_ROW); slot < k; slot += INVOCATIONS) {
    indices[params.indices_base + list + slot] = NONE;
    list_scores[params.list_scores_base + list + slot] = empty;
  }
}

// attention stored combine {"valueDim":64,"dtype":"f32","dropout":false}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, k: u32, list_rows_per_head: u32, indices_base: u32, scores_base: u32, v_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> scores: array<u32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const INVOCATIONS = 64u;


struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}



const NONE = 0xffffffffu;
const PLUS_INF_KEY = 0xff800000u;

var<workgroup> parts: array<vec2u, INVOCATIONS>;
var<workgroup> weights: array<f32, INVOCATIONS>;
var<workgroup> value_rows: array<u32, INVOCATIONS>;

fn load_value(value_row: u32, pair: u32) -> vec2f {
  let at = params.v_base + value_row * 64u + 2u * pair;
  return vec2f(v[at], v[at + 1u]);
}

fn store_output(out_row: u32, pair: u32, value: vec2f) {
  let at = params.out_base + out_row * 64u + 2u * pair;
  out[at] = value.x;
  out[at + 1u] = value.y;
}

fn bits_of_key(key: u32) -> u32 {
  return key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
}
fn number_of(key: u32) -> f32 { return bitcast<f32>(bits_of_key(key)); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let k = params.k;
  let list = (row.local_head * params.list_rows_per_head + row.local_query) * k;
  let indices_at = params.indices_base + list;
  let scores_at = params.scores_base + list;
  let value_start = (row.local_head / params.group) * params.key_length;
  let out_row = row.local_head * params.query_length + row.local_query;

  // The largest score, as an ordered key, and how many there are.
  var most = 0u;
  var count = 0u;
  for (var slot = t; slot < k; slot += INVOCATIONS) {
    let bits = scores[scores_at + slot];
    if (indices[indices_at + slot] != NONE) {
      count++;
      most = max(most, key_of(bits));
    } else if ((bits & 0x7fffffffu) > 0x7f800000u) {
      most = NONE;
    }
  }
  parts[t] = vec2u(most, count);
  workgroupBarrier();
  for (var reach = INVOCATIONS / 2u; reach > 0u; reach /= 2u) {
    if (t < reach) {
      let other = parts[t + reach];
      parts[t] = vec2u(max(parts[t].x, other.x), parts[t].y + other.y);
    }
    workgroupBarrier();
  }
  let whole = workgroupUniformLoad(&parts[0]);
  let largest = number_of(whole.x);
  let is_nan = whole.x >= PLUS_INF_KEY;

  var total = 0.0;
  var sum_0 = vec2f();
  for (var first = 0u; first < whole.y; first += INVOCATIONS) {
    let slot = first + t;
    if (slot < whole.y) {
      let weight = exp(bitcast<f32>(scores[scores_at + slot]) - largest);
      total += weight;
      weights[t] = weight;
      value_rows[t] = value_start + indices[indices_at + slot];
    }
    workgroupBarrier();
    let end = min(INVOCATIONS, whole.y - first);
    for (var s = 0u; s < end; s++) {
      let weight = weights[s];
      let value_row = value_rows[s];
      if (t + 0u < 32u) { sum_0 += weight * load_value(value_row, t + 0u); }
    }
    workgroupBarrier();
  }
  parts[t] = vec2u(bitcast<u32>(total), 0u);
  workgroupBarrier();
  for (var reach = INVOCATIONS / 2u; reach > 0u; reach /= 2u) {
    if (t < reach) { parts[t].x = bitcast<u32>(bitcast<f32>(parts[t].x) + bitcast<f32>(parts[t + reach].x)); }
    workgroupBarrier();
  }
  let sum = bitcast<f32>(workgroupUniformLoad(&parts[0]).x);
  // From bits that no compiler knows: it may take a constant NaN for a mistake.
  let nan = bitcast<f32>(0x7fc00000u | (k & 1u));
  if (t + 0u < 32u) {
    var value = select(sum_0 / sum, vec2f(), whole.y == 0u);
    if (is_nan) { value = vec2f(nan); }
    store_output(out_row, t + 0u, value);
  }
}
