

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
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> maxima: array<f32>;

fn visible_of(row: Row) -> u32 {
  var visible = geometry.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u + geometry.key_length) - i32(geometry.query_length))));
  
  return visible;
}

fn tile_sees(key_head: u32, first_row: u32, rows: u32) -> vec2u {
  let last_row = min(first_row + 127u, rows - 1u);
  let start = key_head * rows;
  if (first_row / geometry.queries == last_row / geometry.queries) {
    return vec2u(visible_of(row_at(start + first_row)), visible_of(row_at(start + last_row)));
  }
  // Rows of more than one head: from the first query of the part to the last.
  return vec2u(visible_of(row_at(start)), visible_of(row_at(start + geometry.queries - 1u)));
}


fn sampled_key(j: u32, shift: u32) -> u32 {
  var x = j * 747796405u + 2891336453u;
  x = ((x >> ((x >> 28u) + 4u)) ^ x) * 277803737u;
  x = (x >> 22u) ^ x;
  return (j << shift) + (x & ((1u << shift) - 1u));
}

fn load_query(row: u32, quad: u32) -> vec4f {
  
  return q[geometry.q_base / 4u + row * 16u + quad];
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  return k[geometry.k_base / 4u + row * 16u + quad];
}

// [dim][row / 4] and [dim][key / 4]; quads are swapped by dim so that neither writing nor reading meets in one bank.
// Arrays of arrays: a constant first index needs no check of its bound.
var<workgroup> query_tile: array<array<vec4f, 32>, 16>;
var<workgroup> key_tile: array<array<vec4f, 32>, 16>;

/** The row of q that row `row` of a key head's rows is: all queries of one head of its group, then of the next. */
fn query_row(key_head: u32, row: u32) -> u32 {
  let at = min(row, geometry.group * geometry.queries - 1u);
  return (key_head * geometry.group + at / geometry.queries) * geometry.query_length + at % geometry.queries;
}

fn score_quad(dots: vec4f, row: Row, keys: vec4u) -> vec4f {
  return geometry.scale * dots;
}

const LOWEST = -3.4028234e38f;

fn largest(x: vec4f) -> f32 {
  let pair = max(x.xy, x.zw);
  return max(pair.x, pair.y);
}

/** Number of the group in which a quad of a tile of the sample falls. */
fn group_at(tile: u32, quad: u32) -> u32 {
  return (tile % (geometry.own.y / 32u)) * 32u + quad;
}

/** The first tile from `tile` on that belongs to the share. */
fn next_tile(tile: u32, cycle: u32, run: u32, share: u32) -> u32 {
  let own = tile % cycle / run;
  if (own == share) { return tile; }
  let start = tile - tile % cycle + share * run;
  return select(start, start + cycle, own > share);
}

fn store_quad(index: u32, row: Row, visible: u32, tile: u32, quad: u32, is_single: bool, keys: vec4u, dots: vec4f) {
  let scores = select(vec4f(LOWEST), score_quad(dots, row, keys), keys < vec4u(visible));
  let start = index * geometry.own.y;
  if (is_single) {
    let at = start + tile * 128u + 4u * quad;
    maxima[at] = scores.x;
    maxima[at + 1u] = scores.y;
    maxima[at + 2u] = scores.z;
    maxima[at + 3u] = scores.w;
    return;
  }
  let at = start + group_at(tile, quad);
  var most = largest(scores);
  if (tile >= geometry.own.y / 32u) { most = max(most, maxima[at]); }
  maxima[at] = most;
}

fn store_row(
  index: u32, is_row: bool, tile: u32, tx: u32, is_single: bool,
  near_keys: vec4u, far_keys: vec4u, near: vec4f, far: vec4f,
) {
  if (!is_row) { return; }
  let row = row_at(index);
  let visible = visible_of(row);
  store_quad(index, row, visible, tile, tx, is_single, near_keys, near);
  store_quad(index, row, visible, tile, tx + 16u, is_single, far_keys, far);
}

/** The four samples of a quad: a quarter of the row's sample apart, so that neighbours fall into different groups. */
fn quad_keys(tile: u32, quad: u32, tiles: u32, shift: u32) -> vec4u {
  let j = 32u * tile + quad;
  let quarter = 32u * tiles;
  return vec4u(
    sampled_key(j, shift), sampled_key(j + quarter, shift),
    sampled_key(j + 2u * quarter, shift), sampled_key(j + 3u * quarter, shift),
  );
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let shares = geometry.more.x;
  let shift = geometry.own.x;
  let rows = geometry.group * geometry.queries;
  let row_tiles = (rows + 127u) / 128u;
  let job = id.x + id.y * groups.x;
  if (job >= shares * row_tiles * (geometry.heads / geometry.group)) { return; }
  let share = job % shares;
  let first_row = 128u * (job / shares % row_tiles);
  let key_head = job / shares / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let count = (sees.y + (1u << shift) - 1u) >> shift;
  let tiles = (count + 127u) / 128u;
  let is_single = count <= geometry.own.y;
  // Tiles of one share fall into the same groups, so that no two workgroups meet in one.
  let cycle = geometry.own.y / 32u;
  let run = cycle / shares;
  let end = min(geometry.own.w, tiles);
  var tile = next_tile(geometry.own.z, cycle, run, share);
  if (tile >= end) { return; }
  
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
  {
      let brought = quad_keys(tile, stage_r, tiles, shift);
      key_row_0 = key_head * geometry.key_length + min(brought[0], geometry.key_length - 1u);
      key_row_1 = key_head * geometry.key_length + min(brought[1], geometry.key_length - 1u);
      key_row_2 = key_head * geometry.key_length + min(brought[2], geometry.key_length - 1u);
      key_row_3 = key_head * geometry.key_length + min(brought[3], geometry.key_length - 1u);
    }
  if (t < 128u) { fetched = mat4x4f(load_key(key_row_0, 4u * (0u) + stage_c), load_key(key_row_1, 4u * (0u) + stage_c), load_key(key_row_2, 4u * (0u) + stage_c), load_key(key_row_3, 4u * (0u) + stage_c)); } else { fetched = mat4x4f(load_query(query_row_0, 4u * (0u) + stage_c), load_query(query_row_1, 4u * (0u) + stage_c), load_query(query_row_2, 4u * (0u) + stage_c), load_query(query_row_3, 4u * (0u) + stage_c)); }
  while (tile < end) {
    let next = next_tile(tile + 1u, cycle, run, share);
    
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
      if (t < 128u) { key_tile[4u * stage_c + 0u][stage_place] = turned[0]; key_tile[4u * stage_c + 1u][stage_place] = turned[1]; key_tile[4u * stage_c + 2u][stage_place] = turned[2]; key_tile[4u * stage_c + 3u][stage_place] = turned[3]; } else { query_tile[4u * stage_c + 0u][stage_place] = turned[0]; query_tile[4u * stage_c + 1u][stage_place] = turned[1]; query_tile[4u * stage_c + 2u][stage_place] = turned[2]; query_tile[4u * stage_c + 3u][stage_place] = turned[3]; }
      workgroupBarrier();
      if (slice + 1u < 4u) {
        if (t < 128u) { fetched = mat4x4f(load_key(key_row_0, 4u * (slice + 1u) + stage_c), load_key(key_row_1, 4u * (slice + 1u) + stage_c), load_key(key_row_2, 4u * (slice + 1u) + stage_c), load_key(key_row_3, 4u * (slice + 1u) + stage_c)); } else { fetched = mat4x4f(load_query(query_row_0, 4u * (slice + 1u) + stage_c), load_query(query_row_1, 4u * (slice + 1u) + stage_c), load_query(query_row_2, 4u * (slice + 1u) + stage_c), load_query(query_row_3, 4u * (slice + 1u) + stage_c)); }
      } else {
        {
      let brought = quad_keys(next, stage_r, tiles, shift);
      key_row_0 = key_head * geometry.key_length + min(brought[0], geometry.key_length - 1u);
      key_row_1 = key_head * geometry.key_length + min(brought[1], geometry.key_length - 1u);
      key_row_2 = key_head * geometry.key_length + min(brought[2], geometry.key_length - 1u);
      key_row_3 = key_head * geometry.key_length + min(brought[3], geometry.key_length - 1u);
    }
        if (t < 128u) { fetched = mat4x4f(load_key(key_row_0, 4u * (0u) + stage_c), load_key(key_row_1, 4u * (0u) + stage_c), load_key(key_row_2, 4u * (0u) + stage_c), load_key(key_row_3, 4u * (0u) + stage_c)); } else { fetched = mat4x4f(load_query(query_row_0, 4u * (0u) + stage_c), load_query(query_row_1, 4u * (0u) + stage_c), load_query(query_row_2, 4u * (0u) + stage_c), load_query(query_row_3, 4u * (0u) + stage_c)); }
      }
      for (var turn = 0u; turn < 4u; turn++) {
      {
      let a0 = query_tile[4u * turn + 0u][(ty ^ (2u * turn))];
      let a1 = query_tile[4u * turn + 0u][16u + (ty ^ (2u * turn))];
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
      let a1 = query_tile[4u * turn + 1u][16u + (ty ^ (2u * turn))];
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
      let a1 = query_tile[4u * turn + 2u][16u + (ty ^ (2u * turn))];
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
      let a1 = query_tile[4u * turn + 3u][16u + (ty ^ (2u * turn))];
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
    let near_keys = quad_keys(tile, tx, tiles, shift);
    let far_keys = quad_keys(tile, tx + 16u, tiles, shift);
    store_row(
      key_head * rows + first_row + (4u * ty + 0u), first_row + (4u * ty + 0u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_0_0, dots_0_1,
    );
    store_row(
      key_head * rows + first_row + (4u * ty + 1u), first_row + (4u * ty + 1u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_1_0, dots_1_1,
    );
    store_row(
      key_head * rows + first_row + (4u * ty + 2u), first_row + (4u * ty + 2u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_2_0, dots_2_1,
    );
    store_row(
      key_head * rows + first_row + (4u * ty + 3u), first_row + (4u * ty + 3u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_3_0, dots_3_1,
    );
    store_row(
      key_head * rows + first_row + (4u * ty + 64u), first_row + (4u * ty + 64u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_4_0, dots_4_1,
    );
    store_row(
      key_head * rows + first_row + (4u * ty + 65u), first_row + (4u * ty + 65u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_5_0, dots_5_1,
    );
    store_row(
      key_head * rows + first_row + (4u * ty + 66u), first_row + (4u * ty + 66u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_6_0, dots_6_1,
    );
    store_row(
      key_head * rows + first_row + (4u * ty + 67u), first_row + (4u * ty + 67u) < rows, tile, tx, is_single,
      near_keys, far_keys, dots_7_0, dots_7_1,
    );
    tile = next;
  }
}