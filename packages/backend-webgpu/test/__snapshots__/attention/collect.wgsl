

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
@group(0) @binding(3) var<storage, read> thresholds: array<f32>;
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> lists: array<vec2u>;

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

/** Hits of the tile at hand by row, and where they go in the row's list. */
var<workgroup> tile_counts: array<atomic<u32>, 128>;
var<workgroup> tile_starts: array<u32, 128>;

/** A bit for each of four scores above the threshold. */
fn above(scores: vec4f, threshold: f32) -> u32 {
  return dot(select(vec4u(), vec4u(1u, 2u, 4u, 8u), scores > vec4f(threshold)), vec4u(1u));
}

/** A bit for each of the keys 4 tx .. and 4 tx + 64 .. of a tile that the row can see. */
fn seen(index: u32, first: u32) -> u32 {
  let visible = vec4u(visible_of(row_at(index)));
  let keys = first + vec4u(0u, 1u, 2u, 3u);
  let bits = vec4u(1u, 2u, 4u, 8u);
  return dot(select(vec4u(), bits, keys < visible), vec4u(1u))
    | (dot(select(vec4u(), bits, keys + 64u < visible), vec4u(1u)) << 4u);
}

fn store_hits(list: u32, first_place: u32, hits: u32, first_key: u32, near: vec4f, far: vec4f) {
  var left = hits;
  var place = first_place;
  while (left != 0u) {
    let bit = firstTrailingBit(left);
    left &= left - 1u;
    if (place < geometry.own.x) {
      let quad = select(near, far, (bit & 4u) != 0u);
      let pair = select(quad.xy, quad.zw, (bit & 2u) != 0u);
      let score = select(pair.x, pair.y, (bit & 1u) != 0u);
      lists[list * geometry.own.x + place] = vec2u(first_key + (bit & 3u) + 16u * (bit & 4u), bitcast<u32>(score));
    }
    place++;
  }
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = geometry.group * geometry.queries;
  let row_tiles = (rows + 127u) / 128u;
  let segments = (geometry.own.z - geometry.own.y + geometry.own.w - 1u) / geometry.own.w;
  let job = id.x + id.y * groups.x;
  if (job >= segments * row_tiles * (geometry.heads / geometry.group)) { return; }
  let segment = geometry.own.y + geometry.own.w * (job % segments);
  let first_row = 128u * (job / segments % row_tiles);
  let key_head = job / segments / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let end = min(min(segment + geometry.own.w, geometry.own.z), sees.y);
  if (segment >= end) { return; }
  let index_start = key_head * rows + first_row;
  
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
  if (t < 128u) { atomicStore(&tile_counts[t], 0u); }
  // Rows beyond the last list nothing: no score is above infinity, which must not be a constant of the shader. Tests
  // of rows where hits are found made the sweep a third slower.
  let infinity = bitcast<f32>(0x7f800000u + (rows >> 31u));
  let threshold_0 = select(
    infinity, thresholds[index_start + (4u * ty + 0u)], first_row + (4u * ty + 0u) < rows,
  );
  let threshold_1 = select(
    infinity, thresholds[index_start + (4u * ty + 1u)], first_row + (4u * ty + 1u) < rows,
  );
  let threshold_2 = select(
    infinity, thresholds[index_start + (4u * ty + 2u)], first_row + (4u * ty + 2u) < rows,
  );
  let threshold_3 = select(
    infinity, thresholds[index_start + (4u * ty + 3u)], first_row + (4u * ty + 3u) < rows,
  );
  let threshold_4 = select(
    infinity, thresholds[index_start + (4u * ty + 64u)], first_row + (4u * ty + 64u) < rows,
  );
  let threshold_5 = select(
    infinity, thresholds[index_start + (4u * ty + 65u)], first_row + (4u * ty + 65u) < rows,
  );
  let threshold_6 = select(
    infinity, thresholds[index_start + (4u * ty + 66u)], first_row + (4u * ty + 66u) < rows,
  );
  let threshold_7 = select(
    infinity, thresholds[index_start + (4u * ty + 67u)], first_row + (4u * ty + 67u) < rows,
  );
  key_row_0 = key_head * geometry.key_length
    + min(segment + 4u * stage_r + 0u, geometry.key_length - 1u);
    key_row_1 = key_head * geometry.key_length
    + min(segment + 4u * stage_r + 1u, geometry.key_length - 1u);
    key_row_2 = key_head * geometry.key_length
    + min(segment + 4u * stage_r + 2u, geometry.key_length - 1u);
    key_row_3 = key_head * geometry.key_length
    + min(segment + 4u * stage_r + 3u, geometry.key_length - 1u);
  if (t < 128u) { fetched = mat4x4f(load_key(key_row_0, 4u * (0u) + stage_c), load_key(key_row_1, 4u * (0u) + stage_c), load_key(key_row_2, 4u * (0u) + stage_c), load_key(key_row_3, 4u * (0u) + stage_c)); } else { fetched = mat4x4f(load_query(query_row_0, 4u * (0u) + stage_c), load_query(query_row_1, 4u * (0u) + stage_c), load_query(query_row_2, 4u * (0u) + stage_c), load_query(query_row_3, 4u * (0u) + stage_c)); }
  for (var first = segment; first < end; first += 128u) {
    
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
        key_row_0 = key_head * geometry.key_length
    + min(first + 128u + 4u * stage_r + 0u, geometry.key_length - 1u);
    key_row_1 = key_head * geometry.key_length
    + min(first + 128u + 4u * stage_r + 1u, geometry.key_length - 1u);
    key_row_2 = key_head * geometry.key_length
    + min(first + 128u + 4u * stage_r + 2u, geometry.key_length - 1u);
    key_row_3 = key_head * geometry.key_length
    + min(first + 128u + 4u * stage_r + 3u, geometry.key_length - 1u);
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
    let first_key = first + 4u * tx;
    let is_whole = first + 128u <= sees.x;
    // Eight bits a row: which of its scores are hits, and the place of the first of them among the tile's.
    var near_hits = 0u;
    var far_hits = 0u;
    var near_places = 0u;
    var far_places = 0u;
    {
      dots_0_0 = geometry.scale * dots_0_0;
      dots_0_1 = geometry.scale * dots_0_1;
      var hits = above(dots_0_0, threshold_0) | (above(dots_0_1, threshold_0) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 0u), first_key); }
        near_hits |= hits << 0u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 0u)], countOneBits(hits)) << 0u;
      }
    }
    {
      dots_1_0 = geometry.scale * dots_1_0;
      dots_1_1 = geometry.scale * dots_1_1;
      var hits = above(dots_1_0, threshold_1) | (above(dots_1_1, threshold_1) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 1u), first_key); }
        near_hits |= hits << 8u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 1u)], countOneBits(hits)) << 8u;
      }
    }
    {
      dots_2_0 = geometry.scale * dots_2_0;
      dots_2_1 = geometry.scale * dots_2_1;
      var hits = above(dots_2_0, threshold_2) | (above(dots_2_1, threshold_2) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 2u), first_key); }
        near_hits |= hits << 16u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 2u)], countOneBits(hits)) << 16u;
      }
    }
    {
      dots_3_0 = geometry.scale * dots_3_0;
      dots_3_1 = geometry.scale * dots_3_1;
      var hits = above(dots_3_0, threshold_3) | (above(dots_3_1, threshold_3) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 3u), first_key); }
        near_hits |= hits << 24u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 3u)], countOneBits(hits)) << 24u;
      }
    }
    {
      dots_4_0 = geometry.scale * dots_4_0;
      dots_4_1 = geometry.scale * dots_4_1;
      var hits = above(dots_4_0, threshold_4) | (above(dots_4_1, threshold_4) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 64u), first_key); }
        far_hits |= hits << 0u;
        far_places |= atomicAdd(&tile_counts[(4u * ty + 64u)], countOneBits(hits)) << 0u;
      }
    }
    {
      dots_5_0 = geometry.scale * dots_5_0;
      dots_5_1 = geometry.scale * dots_5_1;
      var hits = above(dots_5_0, threshold_5) | (above(dots_5_1, threshold_5) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 65u), first_key); }
        far_hits |= hits << 8u;
        far_places |= atomicAdd(&tile_counts[(4u * ty + 65u)], countOneBits(hits)) << 8u;
      }
    }
    {
      dots_6_0 = geometry.scale * dots_6_0;
      dots_6_1 = geometry.scale * dots_6_1;
      var hits = above(dots_6_0, threshold_6) | (above(dots_6_1, threshold_6) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 66u), first_key); }
        far_hits |= hits << 16u;
        far_places |= atomicAdd(&tile_counts[(4u * ty + 66u)], countOneBits(hits)) << 16u;
      }
    }
    {
      dots_7_0 = geometry.scale * dots_7_0;
      dots_7_1 = geometry.scale * dots_7_1;
      var hits = above(dots_7_0, threshold_7) | (above(dots_7_1, threshold_7) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 67u), first_key); }
        far_hits |= hits << 24u;
        far_places |= atomicAdd(&tile_counts[(4u * ty + 67u)], countOneBits(hits)) << 24u;
      }
    }
    workgroupBarrier();
    if (t < 128u) {
      let count = atomicLoad(&tile_counts[t]);
      if (count != 0u) {
        tile_starts[t] = atomicAdd(&counts[index_start + t], count);
        atomicStore(&tile_counts[t], 0u);
      }
    }
    workgroupBarrier();
    if (((near_hits >> 0u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 0u), tile_starts[(4u * ty + 0u)] + ((near_places >> 0u) & 255u),
        ((near_hits >> 0u) & 255u), first_key, dots_0_0, dots_0_1,
      );
    }
    if (((near_hits >> 8u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 1u), tile_starts[(4u * ty + 1u)] + ((near_places >> 8u) & 255u),
        ((near_hits >> 8u) & 255u), first_key, dots_1_0, dots_1_1,
      );
    }
    if (((near_hits >> 16u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 2u), tile_starts[(4u * ty + 2u)] + ((near_places >> 16u) & 255u),
        ((near_hits >> 16u) & 255u), first_key, dots_2_0, dots_2_1,
      );
    }
    if (((near_hits >> 24u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 3u), tile_starts[(4u * ty + 3u)] + ((near_places >> 24u) & 255u),
        ((near_hits >> 24u) & 255u), first_key, dots_3_0, dots_3_1,
      );
    }
    if (((far_hits >> 0u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 64u), tile_starts[(4u * ty + 64u)] + ((far_places >> 0u) & 255u),
        ((far_hits >> 0u) & 255u), first_key, dots_4_0, dots_4_1,
      );
    }
    if (((far_hits >> 8u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 65u), tile_starts[(4u * ty + 65u)] + ((far_places >> 8u) & 255u),
        ((far_hits >> 8u) & 255u), first_key, dots_5_0, dots_5_1,
      );
    }
    if (((far_hits >> 16u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 66u), tile_starts[(4u * ty + 66u)] + ((far_places >> 16u) & 255u),
        ((far_hits >> 16u) & 255u), first_key, dots_6_0, dots_6_1,
      );
    }
    if (((far_hits >> 24u) & 255u) != 0u) {
      store_hits(
        index_start + (4u * ty + 67u), tile_starts[(4u * ty + 67u)] + ((far_places >> 24u) & 255u),
        ((far_hits >> 24u) & 255u), first_key, dots_7_0, dots_7_1,
      );
    }
  }
}