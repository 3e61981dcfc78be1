// attention exact-backward scores {"headDim":64,"dtype":"f32","causal":true,"keyLengths":false,"mask":false,"bias":false,"relativeBias":false,"valueDim":64,"rows":64}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, q_base: u32, k_base: u32, gradient_base: u32, v_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> v: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> scores: array<vec4u>;
@group(0) @binding(6) var<storage, read_write> products: array<vec4f>;
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



fn scores_of(dots: vec4f, row: Row, first_key: u32, visible: u32) -> vec4u {
  let keys = first_key + vec4u(0u, 1u, 2u, 3u);
  let bits = bitcast<vec4u>(params.scale * dots);
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
fn load_query_of_values(row: u32, quad: u32) -> vec4f {
  
  return gradient[params.gradient_base / 4u + row * 16u + quad];
}
fn load_key_of_values(row: u32, quad: u32) -> vec4f {
  
  return v[params.v_base / 4u + row * 16u + quad];
}

fn store_scores(row_index: u32, rows: u32, key_head: u32, first_key: u32, near: vec4f, far: vec4f) {
  if (row_index >= rows) { return; }
  let row = row_at(key_head * rows + row_index);
  let visible = visible_of(row);
  let at = (key_head * rows + row_index) * ((params.key_length + 3u) / 4u) + first_key / 4u;
  if (first_key < visible) { scores[at] = scores_of(near, row, first_key, visible); }
  if (first_key + 64u < visible) { scores[at + 16u] = scores_of(far, row, first_key + 64u, visible); }
}

fn store_products(row_index: u32, rows: u32, key_head: u32, first_key: u32, near: vec4f, far: vec4f) {
  if (row_index >= rows) { return; }
  let row = row_at(key_head * rows + row_index);
  let visible = visible_of(row);
  let at = (key_head * rows + row_index) * ((params.key_length + 3u) / 4u) + first_key / 4u;
  if (first_key < visible) { products[at] = near; }
  if (first_key + 64u < visible) { products[at + 16u] = far; }
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
  {
  
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
        
        fetched = mat4x4f(load_key_of_values(key_row_0, 4u * (0u) + stage_c), load_key_of_values(key_row_1, 4u * (0u) + stage_c), load_key_of_values(key_row_2, 4u * (0u) + stage_c), load_key_of_values(key_row_3, 4u * (0u) + stage_c));
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
  store_scores(first_row + (4u * ty + 0u), rows, key_head, first_key + 4u * tx, dots_0_0, dots_0_1);
  store_scores(first_row + (4u * ty + 1u), rows, key_head, first_key + 4u * tx, dots_1_0, dots_1_1);
  store_scores(first_row + (4u * ty + 2u), rows, key_head, first_key + 4u * tx, dots_2_0, dots_2_1);
  store_scores(first_row + (4u * ty + 3u), rows, key_head, first_key + 4u * tx, dots_3_0, dots_3_1);
  store_scores(first_row + (4u * ty + 32u), rows, key_head, first_key + 4u * tx, dots_4_0, dots_4_1);
  store_scores(first_row + (4u * ty + 33u), rows, key_head, first_key + 4u * tx, dots_5_0, dots_5_1);
  store_scores(first_row + (4u * ty + 34u), rows, key_head, first_key + 4u * tx, dots_6_0, dots_6_1);
  store_scores(first_row + (4u * ty + 35u), rows, key_head, first_key + 4u * tx, dots_7_0, dots_7_1);
  }
  {
  
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
        let turned = transpose(mat4x4f(load_query_of_values(query_row_0, 4u * slice + stage_c), load_query_of_values(query_row_1, 4u * slice + stage_c), load_query_of_values(query_row_2, 4u * slice + stage_c), load_query_of_values(query_row_3, 4u * slice + stage_c)));
        query_tile[4u * stage_c + 0u][stage_place] = turned[0]; query_tile[4u * stage_c + 1u][stage_place] = turned[1]; query_tile[4u * stage_c + 2u][stage_place] = turned[2]; query_tile[4u * stage_c + 3u][stage_place] = turned[3];
      }
      workgroupBarrier();
      if (slice + 1u < 4u) {
        fetched = mat4x4f(load_key_of_values(key_row_0, 4u * (slice + 1u) + stage_c), load_key_of_values(key_row_1, 4u * (slice + 1u) + stage_c), load_key_of_values(key_row_2, 4u * (slice + 1u) + stage_c), load_key_of_values(key_row_3, 4u * (slice + 1u) + stage_c));
      } else {
        
        fetched = mat4x4f(load_key_of_values(key_row_0, 4u * (0u) + stage_c), load_key_of_values(key_row_1, 4u * (0u) + stage_c), load_key_of_values(key_row_2, 4u * (0u) + stage_c), load_key_of_values(key_row_3, 4u * (0u) + stage_c));
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
  store_products(first_row + (4u * ty + 0u), rows, key_head, first_key + 4u * tx, dots_0_0, dots_0_1);
  store_products(first_row + (4u * ty + 1u), rows, key_head, first_key + 4u * tx, dots_1_0, dots_1_1);
  store_products(first_row + (4u * ty + 2u), rows, key_head, first_key + 4u * tx, dots_2_0, dots_2_1);
  store_products(first_row + (4u * ty + 3u), rows, key_head, first_key + 4u * tx, dots_3_0, dots_3_1);
  store_products(first_row + (4u * ty + 32u), rows, key_head, first_key + 4u * tx, dots_4_0, dots_4_1);
  store_products(first_row + (4u * ty + 33u), rows, key_head, first_key + 4u * tx, dots_5_0, dots_5_1);
  store_products(first_row + (4u * ty + 34u), rows, key_head, first_key + 4u * tx, dots_6_0, dots_6_1);
  store_products(first_row + (4u * ty + 35u), rows, key_head, first_key + 4u * tx, dots_7_0, dots_7_1);
  }
}

// attention exact-backward rows {"dtype":"f32","causal":true,"keyLengths":false,"dropout":false,"sigmoid":false}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, row_fours: u32, width: u32, shift: f32, gradient_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> products: array<vec4f>;
@group(0) @binding(3) var<storage, read> gradient: array<u32>;
@group(0) @binding(4) var<storage, read_write> unusual: array<atomic<u32>>;
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
fn load_gradient(at: u32) -> f32 { return bitcast<f32>(gradient[at]); }


const LOWEST = -3.40282346e38;
const NOT_FINITE = 0x7f800000u;
var<workgroup> tops: array<f32, INVOCATIONS>;
var<workgroup> totals: array<f32, INVOCATIONS>;
var<workgroup> means: array<f32, INVOCATIONS>;
var<workgroup> is_bad: atomic<u32>;
var<workgroup> is_unusual: atomic<u32>;


/** exp(x) for x <= 0, which may be beyond all numbers. */
fn weight_of(x: f32) -> f32 { return exp(max(x, -1000.0)); }
fn weights_of(x: vec4f) -> vec4f { return exp(max(x, vec4f(-1000.0))); }

fn join(a: u32, b: u32) {
  let top = max(tops[a], tops[b]);
  let left = weight_of(tops[a] - top);
  let right = weight_of(tops[b] - top);
  tops[a] = top;
  totals[a] = left * totals[a] + right * totals[b];
  means[a] = left * means[a] + right * means[b];
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let r = id.x + id.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  let visible = visible_of(row);
  let start = r * params.row_fours;
  if (t == 0u) { atomicStore(&is_bad, 0u); atomicStore(&is_unusual, 0u); }
  workgroupBarrier();
  let gradient_at = params.gradient_base + (row.local_head * params.query_length + row.local_query) * params.width;
  for (var c = t; c < params.width; c += INVOCATIONS) {
    if ((bitcast<u32>(load_gradient(gradient_at + c)) & NOT_FINITE) == NOT_FINITE) { atomicStore(&is_unusual, 1u); }
  }
  var top = LOWEST;
  var total = 0.0;
  var mean = 0.0;
  for (var quad = t; 4u * quad < visible; quad += INVOCATIONS) {
    let keys = 4u * quad + vec4u(0u, 1u, 2u, 3u);
    let bits = scores[start + quad];
    let valid = (keys < vec4u(visible)) & (bits != vec4u(0xff800000u));
    let wrong = valid & ((bits & vec4u(NOT_FINITE)) == vec4u(NOT_FINITE));
    if (any(wrong)) { atomicStore(&is_bad, 1u); }
    let counts = valid & !wrong;
    let score = select(vec4f(LOWEST), bitcast<vec4f>(bits), counts);
    let next = max(top, max(max(score.x, score.y), max(score.z, score.w)));
    let shrink = weight_of(top - next);
    let weight = select(vec4f(), weights_of(score - next), counts);
    let value = products[start + quad];
    total = total * shrink + weight.x + weight.y + weight.z + weight.w;
    let part = select(vec4f(), weight * value, counts);
    mean = mean * shrink + part.x + part.y + part.z + part.w;
    top = next;
  }
  tops[t] = top;
  totals[t] = total;
  means[t] = mean;
  workgroupBarrier();
  if (t < 64u) { join(t, t + 64u); } workgroupBarrier();
  if (t < 32u) { join(t, t + 32u); } workgroupBarrier();
  if (t < 16u) { join(t, t + 16u); } workgroupBarrier();
  if (t < 8u) { join(t, t + 8u); } workgroupBarrier();
  if (t < 4u) { join(t, t + 4u); } workgroupBarrier();
  if (t < 2u) { join(t, t + 2u); } workgroupBarrier();
  if (t < 1u) { join(t, t + 1u); } workgroupBarrier();
  let bad = atomicLoad(&is_bad) != 0u;
  if (t == 0u && atomicLoad(&is_unusual) != 0u) {
    atomicStore(&unusual[1u + atomicAdd(&unusual[0], 1u)], r);
  }
  top = tops[0];
  let share = select(0.0, 1.0 / totals[0], totals[0] > 0.0);
  mean = share * means[0];
  // From bits that no compiler knows: it may take a constant NaN for a mistake.
  let nan = bitcast<f32>(0x7fc00000u | (params.heads & 0u));
  for (var quad = t; 4u * quad < params.visible_keys; quad += INVOCATIONS) {
    let keys = 4u * quad + vec4u(0u, 1u, 2u, 3u);
    let bits = scores[start + quad];
    let valid = (keys < vec4u(visible)) & (bits != vec4u(0xff800000u));
    let score = select(vec4f(LOWEST), bitcast<vec4f>(bits), valid);
    let weight = share * weights_of(score - top);
    let steepness = weight;
    let slope = steepness * (products[start + quad] - mean);
    let weight_bits = bitcast<vec4u>(select(weight, vec4f(nan), vec4<bool>(bad)));
    scores[start + quad] = select(vec4u(0x80000000u), weight_bits, valid);
    products[start + quad] = select(vec4f(), select(slope, vec4f(nan), vec4<bool>(bad)), valid);
  }
}

// attention exact-backward unusual {"half":false}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, row_fours: u32, width: u32, gradient_base: u32, sums_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> gradient: array<u32>;
@group(0) @binding(3) var<storage, read> unusual: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
const INVOCATIONS = 64u;

struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}
fn load_gradient(at: u32) -> f32 { return bitcast<f32>(gradient[at]); }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let count = unusual[0];
  if (count == 0u) { return; }
  let at = id.x + id.y * groups.x * INVOCATIONS;
  let keys = params.visible_keys;
  let unit = at / keys;
  let key = at % keys;
  if (unit >= params.heads / params.group) { return; }
  let sums_at = params.sums_base + (unit * params.key_length + key) * params.width;
  for (var i = 0u; i < count; i++) {
    let r = unusual[1u + i];
    let row = row_at(r);
    let bits = weights[4u * r * params.row_fours + key];
    if (row.local_head / params.group != unit || bits == 0x80000000u) { continue; }
    let gradient_at = params.gradient_base + (row.local_head * params.query_length + row.local_query) * params.width;
    for (var c = 0u; c < params.width; c++) {
      let value = load_gradient(gradient_at + c);
      if ((bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u) { sums[sums_at + c] += bitcast<f32>(bits) * value; }
    }
  }
}
