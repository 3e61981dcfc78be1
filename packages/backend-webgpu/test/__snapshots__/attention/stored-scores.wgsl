

struct Geometry {
  query_length: u32, key_length: u32, query_heads: u32, group: u32,
  first_head: u32, heads: u32, first_query: u32, queries: u32,
  q_base: u32, k_base: u32, v_base: u32, out_base: u32,
  scale: f32, reach: u32, list_rows_per_head: u32, unused_0: u32,
  mask_stride: vec4u,
  bias_stride: vec4u,
  seed: vec2u, dropout_threshold: u32, kept_scale: f32,
  indices_base: u32, scores_base: u32, visible_keys: u32, unused_1: u32,
  own: vec4u,
  more: vec4u,
}
@group(0) @binding(0) var<uniform> geometry: Geometry;

struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / geometry.queries;
  let local_query = row % geometry.queries;
  let head = geometry.first_head + local_head;
  let batch = head / geometry.query_heads;
  return Row(local_head, batch, head % geometry.query_heads, geometry.first_query + local_query, local_query);
}
@group(0) @binding(1) var<storage, read> q: array<vec2u>;
@group(0) @binding(2) var<storage, read> k: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4u>;
@group(0) @binding(4) var<storage, read> key_lengths: array<i32>;
@group(0) @binding(5) var<storage, read> mask: array<u32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read> relative: array<f32>;

fn visible_of(row: Row) -> u32 {
  var visible = geometry.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u + geometry.key_length) - i32(geometry.query_length))));
  visible = min(visible, u32(max(0, key_lengths[row.batch])));
  return visible;
}

const HIDDEN = 0xff800000u;


fn relative_bias(row: Row, key: u32) -> f32 {
  let reach = i32(geometry.reach);
  let distance = i32(key + geometry.query_length) - i32(row.query + geometry.key_length);
  return relative[row.head * (2u * geometry.reach + 1u) + u32(clamp(distance, -reach, reach) + reach)];
}

fn score_of(dot_product: f32, row: Row, key: u32, visible: u32) -> u32 {
  if (key >= visible) { return HIDDEN; }
  if (mask[dot(geometry.mask_stride, vec4u(row.batch, row.head, row.query, key))] == 0u) { return HIDDEN; }
  var added = 0.0;
  added += relative_bias(row, key);
  added += bias[dot(geometry.bias_stride, vec4u(row.batch, row.head, row.query, key))];
  return bitcast<u32>(fma(geometry.scale, dot_product, added));
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
  
  let words = q[geometry.q_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  let words = k[geometry.k_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

// [dim][row / 4] and [dim][key / 4]; quads are swapped by dim so that neither writing nor reading meets in one bank.
// Arrays of arrays: a constant first index needs no check of its bound.
var<workgroup> query_tile: array<array<vec4f, 16>, 16>;
var<workgroup> key_tile: array<array<vec4f, 32>, 16>;

/** The row of q that row `row` of a key head's rows is: all queries of one head of its group, then of the next. */
fn query_row(key_head: u32, row: u32) -> u32 {
  let at = min(row, geometry.group * geometry.queries - 1u);
  return (key_head * geometry.group + at / geometry.queries) * geometry.query_length + at % geometry.queries;
}

fn store_row(row_index: u32, rows: u32, key_head: u32, first_key: u32, near: vec4f, far: vec4f) {
  if (row_index >= rows) { return; }
  let row = row_at(key_head * rows + row_index);
  let visible = visible_of(row);
  let stride = (geometry.key_length + 3u) / 4u;
  let at = (key_head * rows + row_index) * stride + first_key / 4u;
  if (first_key < visible) { scores[at] = scores_of(near, row, first_key, visible); }
  if (first_key + 64u < visible) { scores[at + 16u] = scores_of(far, row, first_key + 64u, visible); }
}

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = geometry.group * geometry.queries;
  let key_tiles = (geometry.visible_keys + 127u) / 128u;
  let row_tiles = (rows + 63u) / 64u;
  let job = id.x + id.y * groups.x;
  if (job >= key_tiles * row_tiles * (geometry.heads / geometry.group)) { return; }
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
  key_row_0 = key_head * geometry.key_length
    + min(first_key + 4u * stage_r + 0u, geometry.key_length - 1u);
  key_row_1 = key_head * geometry.key_length
    + min(first_key + 4u * stage_r + 1u, geometry.key_length - 1u);
  key_row_2 = key_head * geometry.key_length
    + min(first_key + 4u * stage_r + 2u, geometry.key_length - 1u);
  key_row_3 = key_head * geometry.key_length
    + min(first_key + 4u * stage_r + 3u, geometry.key_length - 1u);
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