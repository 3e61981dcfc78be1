// attention sweeps sample {"headDim":64,"dtype":"f16","causal":true,"keyLengths":false,"relativeBias":false,"rows":128}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, shift: u32, groups: u32, first_tile: u32, end_tile: u32, shares: u32, guards: u32, largest_safe: f32, q_base: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2u>;
@group(0) @binding(2) var<storage, read> k: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> maxima: array<f32>;
@group(0) @binding(4) var<storage, read_write> unsafe_keys: array<u32>;
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

fn tile_sees(key_head: u32, first_row: u32, rows: u32) -> vec2u {
  let last_row = min(first_row + 127u, rows - 1u);
  let start = key_head * rows;
  if (first_row / params.queries == last_row / params.queries) {
    return vec2u(visible_of(row_at(start + first_row)), visible_of(row_at(start + last_row)));
  }
  // Rows of more than one head: from the first query of the part to the last.
  return vec2u(visible_of(row_at(start)), visible_of(row_at(start + params.queries - 1u)));
}


fn sampled_key(j: u32, shift: u32) -> u32 {
  var x = j * 747796405u + 2891336453u;
  x = ((x >> ((x >> 28u) + 4u)) ^ x) * 277803737u;
  x = (x >> 22u) ^ x;
  return (j << shift) + (x & ((1u << shift) - 1u));
}

fn load_query(row: u32, quad: u32) -> vec4f {
  
  let words = q[params.q_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  let words = k[params.k_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

// [dim][row / 4] and [dim][key / 4]; quads are swapped by dim so that neither writing nor reading meets in one bank.
// Arrays of arrays: a constant first index needs no check of its bound.
var<workgroup> query_tile: array<array<vec4f, 32>, 16>;
var<workgroup> key_tile: array<array<vec4f, 32>, 16>;

/** The row of q that row `row` of a key head's rows is: all queries of one head of its group, then of the next. */
fn query_row(key_head: u32, row: u32) -> u32 {
  let at = min(row, params.group * params.queries - 1u);
  return (key_head * params.group + at / params.queries) * params.query_length + at % params.queries;
}


fn is_unsafe_word(bits: u32) -> bool {
  return (bits & 0x7fffffffu) > bitcast<u32>(params.largest_safe);
}
var<workgroup> first_unsafe: atomic<u32>;

fn guard_keys(job: u32, t: u32) {
  let key_head = job / 32u;
  let each = (params.key_length + 31u) / 32u;
  let first = job % 32u * each;
  let end = min(first + each, params.key_length);
  if (t == 0u) { atomicStore(&first_unsafe, 0xffffffffu); }
  workgroupBarrier();
  for (var at = first * 16u + t; at < end * 16u; at += INVOCATIONS) {
    let key = at / 16u;
    let words = bitcast<vec4u>(load_key(key_head * params.key_length + key, at % 16u));
    if (is_unsafe_word(words.x) || is_unsafe_word(words.y) || is_unsafe_word(words.z) || is_unsafe_word(words.w)) {
      atomicMin(&first_unsafe, key);
    }
  }
  workgroupBarrier();
  if (t == 0u) {
    unsafe_keys[params.first_head / params.group * 32u + job] = atomicLoad(&first_unsafe);
  }
}

fn score_quad(dots: vec4f, row: Row, keys: vec4u) -> vec4f {
  return params.scale * dots;
}

const LOWEST = -3.4028234e38f;

fn largest(x: vec4f) -> f32 {
  let pair = max(x.xy, x.zw);
  return max(pair.x, pair.y);
}

/** Number of the group in which a quad of a tile of the sample falls. */
fn group_at(tile: u32, quad: u32) -> u32 {
  return (tile % (params.groups / 32u)) * 32u + quad;
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
  let start = index * params.groups;
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
  if (tile >= params.groups / 32u) { most = max(most, maxima[at]); }
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

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let shares = params.shares;
  let shift = params.shift;
  let rows = params.group * params.queries;
  let row_tiles = (rows + 127u) / 128u;
  let index = id.x + id.y * groups.x;
  if (index < params.guards) {
    guard_keys(index, t);
    return;
  }
  let job = index - params.guards;
  if (job >= shares * row_tiles * (params.heads / params.group)) { return; }
  let share = job % shares;
  let first_row = 128u * (job / shares % row_tiles);
  let key_head = job / shares / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let count = (sees.y + (1u << shift) - 1u) >> shift;
  let tiles = (count + 127u) / 128u;
  let is_single = count <= params.groups;
  // Tiles of one share fall into the same groups, so that no two workgroups meet in one.
  let cycle = params.groups / 32u;
  let run = cycle / shares;
  let end = min(params.end_tile, tiles);
  var tile = next_tile(params.first_tile, cycle, run, share);
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
      key_row_0 = key_head * params.key_length + min(brought[0], params.key_length - 1u);
      key_row_1 = key_head * params.key_length + min(brought[1], params.key_length - 1u);
      key_row_2 = key_head * params.key_length + min(brought[2], params.key_length - 1u);
      key_row_3 = key_head * params.key_length + min(brought[3], params.key_length - 1u);
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
      key_row_0 = key_head * params.key_length + min(brought[0], params.key_length - 1u);
      key_row_1 = key_head * params.key_length + min(brought[1], params.key_length - 1u);
      key_row_2 = key_head * params.key_length + min(brought[2], params.key_length - 1u);
      key_row_3 = key_head * params.key_length + min(brought[3], params.key_length - 1u);
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

// attention sweeps threshold {"headDim":64,"dtype":"f16","causal":true,"keyLengths":false,"relativeBias":false,"rows":128,"groups":512,"subgroups":true}
enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, shift: u32, rank: u32, capacity: u32, largest_safe: f32, bias_guard: u32, q_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<u32>;
@group(0) @binding(2) var<storage, read> maxima: array<u32>;
@group(0) @binding(3) var<storage, read> unsafe_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> thresholds: array<u32>;
@group(0) @binding(5) var<storage, read_write> counts: array<u32>;
@group(0) @binding(6) var<storage, read_write> slow: array<u32>;
const INVOCATIONS = 32u;


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

fn tile_sees(key_head: u32, first_row: u32, rows: u32) -> vec2u {
  let last_row = min(first_row + 127u, rows - 1u);
  let start = key_head * rows;
  if (first_row / params.queries == last_row / params.queries) {
    return vec2u(visible_of(row_at(start + first_row)), visible_of(row_at(start + last_row)));
  }
  // Rows of more than one head: from the first query of the part to the last.
  return vec2u(visible_of(row_at(start)), visible_of(row_at(start + params.queries - 1u)));
}

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

fn bits_of_key(key: u32) -> u32 {
  return key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
}

fn is_unsafe_word(bits: u32) -> bool {
  return (bits & 0x7fffffffu) > bitcast<u32>(params.largest_safe);
}

fn team_sum(t: u32, x: u32) -> u32 { return subgroupAdd(x); }
fn team_max(t: u32, x: u32) -> u32 { return subgroupMax(x); }
fn team_before(t: u32, x: u32) -> u32 { return subgroupExclusiveAdd(x); }

const LOWEST_BITS = 0xff7fffffu;
/** `key_of(LOWEST_BITS)`. */
const LOWEST_KEY = 0x00800000u;

/** Groups of the row's tile that the first sweep wrote. */
fn written_groups(index: u32) -> u32 {
  let rows = params.group * params.queries;
  let first_row = (index % rows) / 128u * 128u;
  let shift = params.shift;
  let count = (tile_sees(index / rows, first_row, rows).y + (1u << shift) - 1u) >> shift;
  let tiles = (count + 127u) / 128u;
  return select(min(32u * tiles, 512u), 128u * tiles, count <= 512u);
}

fn is_unsafe(row: Row, t: u32, visible: u32) -> bool {
  let key_head = (params.first_head + row.local_head) / params.group;
  var found = u32(unsafe_keys[key_head * 32u + t] < visible);
  let start = params.q_base + (row.local_head * params.query_length + row.local_query) * 64u;
  for (var d = t; d < 64u; d += 32u) {
    let at = start + d;
    if (is_unsafe_word(bitcast<u32>(unpack2x16float(q[at / 2u])[at % 2u]))) { found = 1u; }
  }
  return team_max(t, found) != 0u;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let visible = visible_of(row);
  let rank = params.rank;
  var bits = LOWEST_BITS;
  let found_unsafe = is_unsafe(row, t, visible);
  if (visible > params.capacity) {
    let written = written_groups(index);
    var key_0 = key_of(maxima[index * 512u + 0u + t]);
    if (key_0 <= LOWEST_KEY || 0u + t >= written) { key_0 = 0u; }
    var key_1 = key_of(maxima[index * 512u + 32u + t]);
    if (key_1 <= LOWEST_KEY || 32u + t >= written) { key_1 = 0u; }
    var key_2 = key_of(maxima[index * 512u + 64u + t]);
    if (key_2 <= LOWEST_KEY || 64u + t >= written) { key_2 = 0u; }
    var key_3 = key_of(maxima[index * 512u + 96u + t]);
    if (key_3 <= LOWEST_KEY || 96u + t >= written) { key_3 = 0u; }
    var key_4 = key_of(maxima[index * 512u + 128u + t]);
    if (key_4 <= LOWEST_KEY || 128u + t >= written) { key_4 = 0u; }
    var key_5 = key_of(maxima[index * 512u + 160u + t]);
    if (key_5 <= LOWEST_KEY || 160u + t >= written) { key_5 = 0u; }
    var key_6 = key_of(maxima[index * 512u + 192u + t]);
    if (key_6 <= LOWEST_KEY || 192u + t >= written) { key_6 = 0u; }
    var key_7 = key_of(maxima[index * 512u + 224u + t]);
    if (key_7 <= LOWEST_KEY || 224u + t >= written) { key_7 = 0u; }
    var key_8 = key_of(maxima[index * 512u + 256u + t]);
    if (key_8 <= LOWEST_KEY || 256u + t >= written) { key_8 = 0u; }
    var key_9 = key_of(maxima[index * 512u + 288u + t]);
    if (key_9 <= LOWEST_KEY || 288u + t >= written) { key_9 = 0u; }
    var key_10 = key_of(maxima[index * 512u + 320u + t]);
    if (key_10 <= LOWEST_KEY || 320u + t >= written) { key_10 = 0u; }
    var key_11 = key_of(maxima[index * 512u + 352u + t]);
    if (key_11 <= LOWEST_KEY || 352u + t >= written) { key_11 = 0u; }
    var key_12 = key_of(maxima[index * 512u + 384u + t]);
    if (key_12 <= LOWEST_KEY || 384u + t >= written) { key_12 = 0u; }
    var key_13 = key_of(maxima[index * 512u + 416u + t]);
    if (key_13 <= LOWEST_KEY || 416u + t >= written) { key_13 = 0u; }
    var key_14 = key_of(maxima[index * 512u + 448u + t]);
    if (key_14 <= LOWEST_KEY || 448u + t >= written) { key_14 = 0u; }
    var key_15 = key_of(maxima[index * 512u + 480u + t]);
    if (key_15 <= LOWEST_KEY || 480u + t >= written) { key_15 = 0u; }
    var prefix = 0u;
    for (var bit = 0x80000000u; bit > 0x20u; bit >>= 1u) {
      let candidate = prefix | bit;
      let reached = team_sum(t, u32(key_0 >= candidate) + u32(key_1 >= candidate) + u32(key_2 >= candidate) + u32(key_3 >= candidate) + u32(key_4 >= candidate) + u32(key_5 >= candidate) + u32(key_6 >= candidate) + u32(key_7 >= candidate) + u32(key_8 >= candidate) + u32(key_9 >= candidate) + u32(key_10 >= candidate) + u32(key_11 >= candidate) + u32(key_12 >= candidate) + u32(key_13 >= candidate) + u32(key_14 >= candidate) + u32(key_15 >= candidate));
      if (reached >= rank) { prefix = candidate; }
      if (reached == rank) { break; }
    }
    if (prefix > LOWEST_KEY) {
      bits = bits_of_key(prefix - 1u);
    }
  }
  if (t == 0u) {
    thresholds[index] = bits;
    counts[index] = select(0u, 2147483648u, found_unsafe);
    if (index < params.heads / params.group) { slow[index] = 0u; }
  }
}

// attention sweeps collect {"headDim":64,"dtype":"f16","causal":true,"keyLengths":false,"relativeBias":false,"rows":128}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, capacity: u32, first_key: u32, end_key: u32, segment: u32, q_base: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2u>;
@group(0) @binding(2) var<storage, read> k: array<vec2u>;
@group(0) @binding(3) var<storage, read> thresholds: array<f32>;
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> lists: array<vec2u>;
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

fn tile_sees(key_head: u32, first_row: u32, rows: u32) -> vec2u {
  let last_row = min(first_row + 127u, rows - 1u);
  let start = key_head * rows;
  if (first_row / params.queries == last_row / params.queries) {
    return vec2u(visible_of(row_at(start + first_row)), visible_of(row_at(start + last_row)));
  }
  // Rows of more than one head: from the first query of the part to the last.
  return vec2u(visible_of(row_at(start)), visible_of(row_at(start + params.queries - 1u)));
}


fn load_query(row: u32, quad: u32) -> vec4f {
  
  let words = q[params.q_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  let words = k[params.k_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

// [dim][row / 4] and [dim][key / 4]; quads are swapped by dim so that neither writing nor reading meets in one bank.
// Arrays of arrays: a constant first index needs no check of its bound.
var<workgroup> query_tile: array<array<vec4f, 32>, 16>;
var<workgroup> key_tile: array<array<vec4f, 32>, 16>;

/** The row of q that row `row` of a key head's rows is: all queries of one head of its group, then of the next. */
fn query_row(key_head: u32, row: u32) -> u32 {
  let at = min(row, params.group * params.queries - 1u);
  return (key_head * params.group + at / params.queries) * params.query_length + at % params.queries;
}

fn score_quad(dots: vec4f, row: Row, keys: vec4u) -> vec4f {
  return params.scale * dots;
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
    if (place < params.capacity) {
      let quad = select(near, far, (bit & 4u) != 0u);
      let pair = select(quad.xy, quad.zw, (bit & 2u) != 0u);
      let score = select(pair.x, pair.y, (bit & 1u) != 0u);
      lists[list * params.capacity + place] = vec2u(first_key + (bit & 3u) + 16u * (bit & 4u), bitcast<u32>(score));
    }
    place++;
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = params.group * params.queries;
  let row_tiles = (rows + 127u) / 128u;
  let segments = (params.end_key - params.first_key + params.segment - 1u) / params.segment;
  let job = id.x + id.y * groups.x;
  if (job >= segments * row_tiles * (params.heads / params.group)) { return; }
  let segment = params.first_key + params.segment * (job % segments);
  let first_row = 128u * (job / segments % row_tiles);
  let key_head = job / segments / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let end = min(min(segment + params.segment, params.end_key), sees.y);
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
  key_row_0 = key_head * params.key_length
    + min(segment + 4u * stage_r + 0u, params.key_length - 1u);
    key_row_1 = key_head * params.key_length
    + min(segment + 4u * stage_r + 1u, params.key_length - 1u);
    key_row_2 = key_head * params.key_length
    + min(segment + 4u * stage_r + 2u, params.key_length - 1u);
    key_row_3 = key_head * params.key_length
    + min(segment + 4u * stage_r + 3u, params.key_length - 1u);
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
        key_row_0 = key_head * params.key_length
    + min(first + 128u + 4u * stage_r + 0u, params.key_length - 1u);
    key_row_1 = key_head * params.key_length
    + min(first + 128u + 4u * stage_r + 1u, params.key_length - 1u);
    key_row_2 = key_head * params.key_length
    + min(first + 128u + 4u * stage_r + 2u, params.key_length - 1u);
    key_row_3 = key_head * params.key_length
    + min(first + 128u + 4u * stage_r + 3u, params.key_length - 1u);
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
      dots_0_0 = params.scale * dots_0_0;
      dots_0_1 = params.scale * dots_0_1;
      var hits = above(dots_0_0, threshold_0) | (above(dots_0_1, threshold_0) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 0u), first_key); }
        near_hits |= hits << 0u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 0u)], countOneBits(hits)) << 0u;
      }
    }
    {
      dots_1_0 = params.scale * dots_1_0;
      dots_1_1 = params.scale * dots_1_1;
      var hits = above(dots_1_0, threshold_1) | (above(dots_1_1, threshold_1) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 1u), first_key); }
        near_hits |= hits << 8u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 1u)], countOneBits(hits)) << 8u;
      }
    }
    {
      dots_2_0 = params.scale * dots_2_0;
      dots_2_1 = params.scale * dots_2_1;
      var hits = above(dots_2_0, threshold_2) | (above(dots_2_1, threshold_2) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 2u), first_key); }
        near_hits |= hits << 16u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 2u)], countOneBits(hits)) << 16u;
      }
    }
    {
      dots_3_0 = params.scale * dots_3_0;
      dots_3_1 = params.scale * dots_3_1;
      var hits = above(dots_3_0, threshold_3) | (above(dots_3_1, threshold_3) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 3u), first_key); }
        near_hits |= hits << 24u;
        near_places |= atomicAdd(&tile_counts[(4u * ty + 3u)], countOneBits(hits)) << 24u;
      }
    }
    {
      dots_4_0 = params.scale * dots_4_0;
      dots_4_1 = params.scale * dots_4_1;
      var hits = above(dots_4_0, threshold_4) | (above(dots_4_1, threshold_4) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 64u), first_key); }
        far_hits |= hits << 0u;
        far_places |= atomicAdd(&tile_counts[(4u * ty + 64u)], countOneBits(hits)) << 0u;
      }
    }
    {
      dots_5_0 = params.scale * dots_5_0;
      dots_5_1 = params.scale * dots_5_1;
      var hits = above(dots_5_0, threshold_5) | (above(dots_5_1, threshold_5) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 65u), first_key); }
        far_hits |= hits << 8u;
        far_places |= atomicAdd(&tile_counts[(4u * ty + 65u)], countOneBits(hits)) << 8u;
      }
    }
    {
      dots_6_0 = params.scale * dots_6_0;
      dots_6_1 = params.scale * dots_6_1;
      var hits = above(dots_6_0, threshold_6) | (above(dots_6_1, threshold_6) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + (4u * ty + 66u), first_key); }
        far_hits |= hits << 16u;
        far_places |= atomicAdd(&tile_counts[(4u * ty + 66u)], countOneBits(hits)) << 16u;
      }
    }
    {
      dots_7_0 = params.scale * dots_7_0;
      dots_7_1 = params.scale * dots_7_1;
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

// attention sweeps flag {"counts":false}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, capacity: u32, k: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> thresholds: array<u32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> slow: array<atomic<u32>>;
const INVOCATIONS = 64u;

const LOWEST_BITS = 0xff7fffffu;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.x + id.y * groups.x * INVOCATIONS;
  if (index >= params.heads * params.queries) { return; }
  let count = counts[index];
  let is_long = count > params.capacity;
  
  if (!is_long && (count >= params.k || thresholds[index] == LOWEST_BITS)) { return; }
  let rows = params.group * params.queries;
  let key_head = index / rows;
  let place = atomicAdd(&slow[key_head], 1u);
  atomicStore(&slow[params.heads / params.group + key_head * rows + place], index % rows);
  
}

// attention sweeps slow {"headDim":64,"dtype":"f16","causal":true,"keyLengths":false,"relativeBias":false,"rows":8}
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, capacity: u32, k: u32, row_words: u32, q_base: u32, k_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2u>;
@group(0) @binding(2) var<storage, read> k: array<vec2u>;
@group(0) @binding(3) var<storage, read> slow: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
@group(0) @binding(5) var<storage, read_write> lists: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> scratch: array<u32>;
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

fn load_query(row: u32, quad: u32) -> vec4f {
  
  let words = q[params.q_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  let words = k[params.k_base / 4u + row * 16u + quad];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn score_quad(dots: vec4f, row: Row, keys: vec4u) -> vec4f {
  return params.scale * dots;
}

var<private> list: u32;

fn score_bits(at: u32) -> u32 {
  return scratch[at];
}

fn keep(slot: u32, key: u32, bits: u32) {
  lists[list + slot] = vec2u(key, bits);
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

var<workgroup> query_rows: array<array<vec4f, 8>, 16>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = params.group * params.queries;
  let key_heads = params.heads / params.group;
  let scratch_start = id.x * 8u * params.row_words;
  let last_key = params.key_length - 1u;
  var job = id.x;
  for (var key_head = 0u; key_head < key_heads; key_head++) {
    let count = slow[key_head];
    let jobs = (count + 7u) / 8u;
    for (; job < jobs; job += groups.x) {
      // The last job of a head may repeat its last row.
      let row_0 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 0u, count - 1u)],
      );
      let row_1 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 1u, count - 1u)],
      );
      let row_2 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 2u, count - 1u)],
      );
      let row_3 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 3u, count - 1u)],
      );
      let row_4 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 4u, count - 1u)],
      );
      let row_5 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 5u, count - 1u)],
      );
      let row_6 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 6u, count - 1u)],
      );
      let row_7 = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(8u * job + 7u, count - 1u)],
      );
      workgroupBarrier();
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][0] = load_query(row_0.local_head * params.query_length + row_0.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][1] = load_query(row_1.local_head * params.query_length + row_1.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][2] = load_query(row_2.local_head * params.query_length + row_2.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][3] = load_query(row_3.local_head * params.query_length + row_3.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][4] = load_query(row_4.local_head * params.query_length + row_4.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][5] = load_query(row_5.local_head * params.query_length + row_5.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][6] = load_query(row_6.local_head * params.query_length + row_6.local_query, quad);
      }
      for (var quad = t; quad < 16u; quad += INVOCATIONS) {
        query_rows[quad][7] = load_query(row_7.local_head * params.query_length + row_7.local_query, quad);
      }
      workgroupBarrier();
      let visible_0 = visible_of(row_0);
      let visible_1 = visible_of(row_1);
      let visible_2 = visible_of(row_2);
      let visible_3 = visible_of(row_3);
      let visible_4 = visible_of(row_4);
      let visible_5 = visible_of(row_5);
      let visible_6 = visible_of(row_6);
      let visible_7 = visible_of(row_7);
      let end = max(max(max(max(max(max(max(visible_0, visible_1), visible_2), visible_3), visible_4), visible_5), visible_6), visible_7);
      for (var key = t; key < end; key += INVOCATIONS) {
        let key_row = key_head * params.key_length + min(key, last_key);
        var dot_0 = 0.0; var dot_1 = 0.0; var dot_2 = 0.0; var dot_3 = 0.0; var dot_4 = 0.0; var dot_5 = 0.0; var dot_6 = 0.0; var dot_7 = 0.0;
        for (var quad = 0u; quad < 16u; quad++) {
          let key_quad = load_key(key_row, quad);
          {
            let query_quad = query_rows[quad][0];
            dot_0 = fma(query_quad.x, key_quad.x, dot_0);
            dot_0 = fma(query_quad.y, key_quad.y, dot_0);
            dot_0 = fma(query_quad.z, key_quad.z, dot_0);
            dot_0 = fma(query_quad.w, key_quad.w, dot_0);
          }
          {
            let query_quad = query_rows[quad][1];
            dot_1 = fma(query_quad.x, key_quad.x, dot_1);
            dot_1 = fma(query_quad.y, key_quad.y, dot_1);
            dot_1 = fma(query_quad.z, key_quad.z, dot_1);
            dot_1 = fma(query_quad.w, key_quad.w, dot_1);
          }
          {
            let query_quad = query_rows[quad][2];
            dot_2 = fma(query_quad.x, key_quad.x, dot_2);
            dot_2 = fma(query_quad.y, key_quad.y, dot_2);
            dot_2 = fma(query_quad.z, key_quad.z, dot_2);
            dot_2 = fma(query_quad.w, key_quad.w, dot_2);
          }
          {
            let query_quad = query_rows[quad][3];
            dot_3 = fma(query_quad.x, key_quad.x, dot_3);
            dot_3 = fma(query_quad.y, key_quad.y, dot_3);
            dot_3 = fma(query_quad.z, key_quad.z, dot_3);
            dot_3 = fma(query_quad.w, key_quad.w, dot_3);
          }
          {
            let query_quad = query_rows[quad][4];
            dot_4 = fma(query_quad.x, key_quad.x, dot_4);
            dot_4 = fma(query_quad.y, key_quad.y, dot_4);
            dot_4 = fma(query_quad.z, key_quad.z, dot_4);
            dot_4 = fma(query_quad.w, key_quad.w, dot_4);
          }
          {
            let query_quad = query_rows[quad][5];
            dot_5 = fma(query_quad.x, key_quad.x, dot_5);
            dot_5 = fma(query_quad.y, key_quad.y, dot_5);
            dot_5 = fma(query_quad.z, key_quad.z, dot_5);
            dot_5 = fma(query_quad.w, key_quad.w, dot_5);
          }
          {
            let query_quad = query_rows[quad][6];
            dot_6 = fma(query_quad.x, key_quad.x, dot_6);
            dot_6 = fma(query_quad.y, key_quad.y, dot_6);
            dot_6 = fma(query_quad.z, key_quad.z, dot_6);
            dot_6 = fma(query_quad.w, key_quad.w, dot_6);
          }
          {
            let query_quad = query_rows[quad][7];
            dot_7 = fma(query_quad.x, key_quad.x, dot_7);
            dot_7 = fma(query_quad.y, key_quad.y, dot_7);
            dot_7 = fma(query_quad.z, key_quad.z, dot_7);
            dot_7 = fma(query_quad.w, key_quad.w, dot_7);
          }
        }
        scratch[scratch_start + 0u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_0), row_0, vec4u(key)).x);
        scratch[scratch_start + 1u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_1), row_1, vec4u(key)).x);
        scratch[scratch_start + 2u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_2), row_2, vec4u(key)).x);
        scratch[scratch_start + 3u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_3), row_3, vec4u(key)).x);
        scratch[scratch_start + 4u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_4), row_4, vec4u(key)).x);
        scratch[scratch_start + 5u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_5), row_5, vec4u(key)).x);
        scratch[scratch_start + 6u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_6), row_6, vec4u(key)).x);
        scratch[scratch_start + 7u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_7), row_7, vec4u(key)).x);
      }
      storageBarrier();
      if (8u * job + 0u < count) {
        let index = row_0.local_head * params.queries + row_0.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 0u * params.row_words, visible_0, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      if (8u * job + 1u < count) {
        let index = row_1.local_head * params.queries + row_1.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 1u * params.row_words, visible_1, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      if (8u * job + 2u < count) {
        let index = row_2.local_head * params.queries + row_2.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 2u * params.row_words, visible_2, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      if (8u * job + 3u < count) {
        let index = row_3.local_head * params.queries + row_3.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 3u * params.row_words, visible_3, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      if (8u * job + 4u < count) {
        let index = row_4.local_head * params.queries + row_4.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 4u * params.row_words, visible_4, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      if (8u * job + 5u < count) {
        let index = row_5.local_head * params.queries + row_5.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 5u * params.row_words, visible_5, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      if (8u * job + 6u < count) {
        let index = row_6.local_head * params.queries + row_6.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 6u * params.row_words, visible_6, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      if (8u * job + 7u < count) {
        let index = row_7.local_head * params.queries + row_7.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + 7u * params.row_words, visible_7, params.k);
        if (t == 0u) { counts[index] = kept; }
      }
      storageBarrier();
    }
    job -= jobs;
  }
}

// attention sweeps keep {"capacity":480,"k":64,"valueDim":64,"dtype":"f16","dropout":false,"subgroups":true,"saves":false}
enable subgroups;
diagnostic(off, subgroup_uniformity);
struct Params { query_length: u32, key_length: u32, query_heads: u32, group: u32, first_head: u32, heads: u32, first_query: u32, queries: u32, visible_keys: u32, scale: f32, reach: u32, query_start: i32, dropout_threshold: u32, kept_scale: f32, seed: vec2u, mask_stride: vec4u, bias_stride: vec4u, k: u32, list_rows_per_head: u32, v_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> lists: array<vec2u>;
@group(0) @binding(3) var<storage, read> v: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> out: array<vec2u>;
const INVOCATIONS = 32u;


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


fn team_sum(t: u32, x: u32) -> u32 { return subgroupAdd(x); }
fn team_max(t: u32, x: u32) -> u32 { return subgroupMax(x); }
fn team_before(t: u32, x: u32) -> u32 { return subgroupExclusiveAdd(x); }

const NONE = 0xffffffffu;
const NAN_ROW = 0xffffffffu;
const NAN_BITS = 0x7fc00000u;
const MINUS_INF_BITS = 0xff800000u;
const PLUS_INF_KEY = 0xff800000u;
const K = 64u;

/** Kept keys and bits of their scores as they come, then by key: (value row, bits of the weight). */
var<workgroup> chosen_keys: array<u32, 64>;
var<workgroup> chosen_bits: array<u32, 64>;
var<workgroup> ordered: array<vec2u, 64>;


fn bits_of_key(key: u32) -> u32 {
  return key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
}
fn number_of(key: u32) -> f32 { return bitcast<f32>(bits_of_key(key)); }

fn unpack_quad(words: vec2u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
fn store_output(at: u32, value: vec4f) {
  out[at] = vec2u(halves_of(value.x, value.y), halves_of(value.z, value.w));
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let listed = counts[index];
  let is_nan_row = listed == NAN_ROW;
  let n = select(min(listed, 480u), 0u, is_nan_row);
  let is_long = n > 288u;

  // Unused places have the key 0, below that of every number.
  var key_0 = 0u; var index_0 = NONE; var bits_0 = 0u;
  var key_1 = 0u; var index_1 = NONE; var bits_1 = 0u;
  var key_2 = 0u; var index_2 = NONE; var bits_2 = 0u;
  var key_3 = 0u; var index_3 = NONE; var bits_3 = 0u;
  var key_4 = 0u; var index_4 = NONE; var bits_4 = 0u;
  var key_5 = 0u; var index_5 = NONE; var bits_5 = 0u;
  var key_6 = 0u; var index_6 = NONE; var bits_6 = 0u;
  var key_7 = 0u; var index_7 = NONE; var bits_7 = 0u;
  var key_8 = 0u; var index_8 = NONE; var bits_8 = 0u;
  var key_9 = 0u; var index_9 = NONE; var bits_9 = 0u;
  var key_10 = 0u; var index_10 = NONE; var bits_10 = 0u;
  var key_11 = 0u; var index_11 = NONE; var bits_11 = 0u;
  var key_12 = 0u; var index_12 = NONE; var bits_12 = 0u;
  var key_13 = 0u; var index_13 = NONE; var bits_13 = 0u;
  var key_14 = 0u; var index_14 = NONE; var bits_14 = 0u;
  if (0u + t < n) {
    let entry = lists[index * 480u + 0u + t];
    index_0 = entry.x; bits_0 = entry.y; key_0 = key_of(entry.y);
  }
  if (32u + t < n) {
    let entry = lists[index * 480u + 32u + t];
    index_1 = entry.x; bits_1 = entry.y; key_1 = key_of(entry.y);
  }
  if (64u + t < n) {
    let entry = lists[index * 480u + 64u + t];
    index_2 = entry.x; bits_2 = entry.y; key_2 = key_of(entry.y);
  }
  if (96u + t < n) {
    let entry = lists[index * 480u + 96u + t];
    index_3 = entry.x; bits_3 = entry.y; key_3 = key_of(entry.y);
  }
  if (128u + t < n) {
    let entry = lists[index * 480u + 128u + t];
    index_4 = entry.x; bits_4 = entry.y; key_4 = key_of(entry.y);
  }
  if (160u + t < n) {
    let entry = lists[index * 480u + 160u + t];
    index_5 = entry.x; bits_5 = entry.y; key_5 = key_of(entry.y);
  }
  if (192u + t < n) {
    let entry = lists[index * 480u + 192u + t];
    index_6 = entry.x; bits_6 = entry.y; key_6 = key_of(entry.y);
  }
  if (224u + t < n) {
    let entry = lists[index * 480u + 224u + t];
    index_7 = entry.x; bits_7 = entry.y; key_7 = key_of(entry.y);
  }
  if (256u + t < n) {
    let entry = lists[index * 480u + 256u + t];
    index_8 = entry.x; bits_8 = entry.y; key_8 = key_of(entry.y);
  }
  if (288u + t < n) {
    let entry = lists[index * 480u + 288u + t];
    index_9 = entry.x; bits_9 = entry.y; key_9 = key_of(entry.y);
  }
  if (320u + t < n) {
    let entry = lists[index * 480u + 320u + t];
    index_10 = entry.x; bits_10 = entry.y; key_10 = key_of(entry.y);
  }
  if (352u + t < n) {
    let entry = lists[index * 480u + 352u + t];
    index_11 = entry.x; bits_11 = entry.y; key_11 = key_of(entry.y);
  }
  if (384u + t < n) {
    let entry = lists[index * 480u + 384u + t];
    index_12 = entry.x; bits_12 = entry.y; key_12 = key_of(entry.y);
  }
  if (416u + t < n) {
    let entry = lists[index * 480u + 416u + t];
    index_13 = entry.x; bits_13 = entry.y; key_13 = key_of(entry.y);
  }
  if (448u + t < n) {
    let entry = lists[index * 480u + 448u + t];
    index_14 = entry.x; bits_14 = entry.y; key_14 = key_of(entry.y);
  }
  var most = 0u;
  var least = NONE;
  most = max(most, key_0); least = min(least, select(NONE, key_0, key_0 != 0u));
  most = max(most, key_1); least = min(least, select(NONE, key_1, key_1 != 0u));
  most = max(most, key_2); least = min(least, select(NONE, key_2, key_2 != 0u));
  most = max(most, key_3); least = min(least, select(NONE, key_3, key_3 != 0u));
  most = max(most, key_4); least = min(least, select(NONE, key_4, key_4 != 0u));
  most = max(most, key_5); least = min(least, select(NONE, key_5, key_5 != 0u));
  most = max(most, key_6); least = min(least, select(NONE, key_6, key_6 != 0u));
  most = max(most, key_7); least = min(least, select(NONE, key_7, key_7 != 0u));
  most = max(most, key_8); least = min(least, select(NONE, key_8, key_8 != 0u));
  most = max(most, key_9); least = min(least, select(NONE, key_9, key_9 != 0u));
  most = max(most, key_10); least = min(least, select(NONE, key_10, key_10 != 0u));
  most = max(most, key_11); least = min(least, select(NONE, key_11, key_11 != 0u));
  most = max(most, key_12); least = min(least, select(NONE, key_12, key_12 != 0u));
  most = max(most, key_13); least = min(least, select(NONE, key_13, key_13 != 0u));
  most = max(most, key_14); least = min(least, select(NONE, key_14, key_14 != 0u));
  most = team_max(t, most);
  least = ~team_max(t, ~least);

  // The k-th key, and of those equal to it the index up to which they are kept.
  var threshold = 1u;
  var last = NONE;
  if (n > K) {
    // Above the first bit in which keys differ there is nothing to search.
    let differing = 32u - countLeadingZeros(most ^ least);
    threshold = select(most & ~((1u << (differing & 31u)) - 1u), 0u, differing == 32u);
    var reached = 0u;
    for (var left = differing; left > 0u; left--) {
      let candidate = threshold | (1u << (left - 1u));
      var count = u32(key_0 >= candidate) + u32(key_1 >= candidate) + u32(key_2 >= candidate) + u32(key_3 >= candidate) + u32(key_4 >= candidate) + u32(key_5 >= candidate) + u32(key_6 >= candidate) + u32(key_7 >= candidate) + u32(key_8 >= candidate);
      if (is_long) { count += u32(key_9 >= candidate) + u32(key_10 >= candidate) + u32(key_11 >= candidate) + u32(key_12 >= candidate) + u32(key_13 >= candidate) + u32(key_14 >= candidate); }
      count = team_sum(t, count);
      if (count >= K) {
        threshold = candidate;
        reached = count;
      }
      if (count == K) { break; }
    }
    if (reached != K) {
      var larger = u32(key_0 > threshold) + u32(key_1 > threshold) + u32(key_2 > threshold) + u32(key_3 > threshold) + u32(key_4 > threshold) + u32(key_5 > threshold) + u32(key_6 > threshold) + u32(key_7 > threshold) + u32(key_8 > threshold);
      if (is_long) { larger += u32(key_9 > threshold) + u32(key_10 > threshold) + u32(key_11 > threshold) + u32(key_12 > threshold) + u32(key_13 > threshold) + u32(key_14 > threshold); }
      larger = team_sum(t, larger);
      last = 0u;
      for (var bit = 0x80000000u; bit != 0u; bit >>= 1u) {
        let candidate = last | bit;
        var count = u32(key_0 == threshold && index_0 < candidate) + u32(key_1 == threshold && index_1 < candidate) + u32(key_2 == threshold && index_2 < candidate) + u32(key_3 == threshold && index_3 < candidate) + u32(key_4 == threshold && index_4 < candidate) + u32(key_5 == threshold && index_5 < candidate) + u32(key_6 == threshold && index_6 < candidate) + u32(key_7 == threshold && index_7 < candidate) + u32(key_8 == threshold && index_8 < candidate);
      if (is_long) { count += u32(key_9 == threshold && index_9 < candidate) + u32(key_10 == threshold && index_10 < candidate) + u32(key_11 == threshold && index_11 < candidate) + u32(key_12 == threshold && index_12 < candidate) + u32(key_13 == threshold && index_13 < candidate) + u32(key_14 == threshold && index_14 < candidate); }
      count = team_sum(t, count);
        if (count < K - larger) { last = candidate; }
      }
    }
  }
  let kept_0 = key_0 > threshold || (key_0 == threshold && index_0 <= last);
  let kept_1 = key_1 > threshold || (key_1 == threshold && index_1 <= last);
  let kept_2 = key_2 > threshold || (key_2 == threshold && index_2 <= last);
  let kept_3 = key_3 > threshold || (key_3 == threshold && index_3 <= last);
  let kept_4 = key_4 > threshold || (key_4 == threshold && index_4 <= last);
  let kept_5 = key_5 > threshold || (key_5 == threshold && index_5 <= last);
  let kept_6 = key_6 > threshold || (key_6 == threshold && index_6 <= last);
  let kept_7 = key_7 > threshold || (key_7 == threshold && index_7 <= last);
  let kept_8 = key_8 > threshold || (key_8 == threshold && index_8 <= last);
  let kept_9 = key_9 > threshold || (key_9 == threshold && index_9 <= last);
  let kept_10 = key_10 > threshold || (key_10 == threshold && index_10 <= last);
  let kept_11 = key_11 > threshold || (key_11 == threshold && index_11 <= last);
  let kept_12 = key_12 > threshold || (key_12 == threshold && index_12 <= last);
  let kept_13 = key_13 > threshold || (key_13 == threshold && index_13 <= last);
  let kept_14 = key_14 > threshold || (key_14 == threshold && index_14 <= last);
  let mine = u32(kept_0) + u32(kept_1) + u32(kept_2) + u32(kept_3) + u32(kept_4) + u32(kept_5) + u32(kept_6) + u32(kept_7) + u32(kept_8) + u32(kept_9) + u32(kept_10) + u32(kept_11) + u32(kept_12) + u32(kept_13) + u32(kept_14);
  var place = team_before(t, mine);
  let m = team_sum(t, mine);
  for (var slot = t; slot < 64u; slot += 32u) { chosen_keys[slot] = NONE; }
  workgroupBarrier();
  if (kept_0) { chosen_keys[place] = index_0; chosen_bits[place] = bits_0; place++; }
  if (kept_1) { chosen_keys[place] = index_1; chosen_bits[place] = bits_1; place++; }
  if (kept_2) { chosen_keys[place] = index_2; chosen_bits[place] = bits_2; place++; }
  if (kept_3) { chosen_keys[place] = index_3; chosen_bits[place] = bits_3; place++; }
  if (kept_4) { chosen_keys[place] = index_4; chosen_bits[place] = bits_4; place++; }
  if (kept_5) { chosen_keys[place] = index_5; chosen_bits[place] = bits_5; place++; }
  if (kept_6) { chosen_keys[place] = index_6; chosen_bits[place] = bits_6; place++; }
  if (kept_7) { chosen_keys[place] = index_7; chosen_bits[place] = bits_7; place++; }
  if (kept_8) { chosen_keys[place] = index_8; chosen_bits[place] = bits_8; place++; }
  if (kept_9) { chosen_keys[place] = index_9; chosen_bits[place] = bits_9; place++; }
  if (kept_10) { chosen_keys[place] = index_10; chosen_bits[place] = bits_10; place++; }
  if (kept_11) { chosen_keys[place] = index_11; chosen_bits[place] = bits_11; place++; }
  if (kept_12) { chosen_keys[place] = index_12; chosen_bits[place] = bits_12; place++; }
  if (kept_13) { chosen_keys[place] = index_13; chosen_bits[place] = bits_13; place++; }
  if (kept_14) { chosen_keys[place] = index_14; chosen_bits[place] = bits_14; place++; }
  workgroupBarrier();

  // Ascending keys: the place of each is the number of smaller ones.
  let slot_of_0 = min(t + 0u, K - 1u);
  let own_0 = chosen_keys[slot_of_0]; let own_bits_0 = chosen_bits[slot_of_0]; var smaller_0 = 0u;
  let slot_of_1 = min(t + 32u, K - 1u);
  let own_1 = chosen_keys[slot_of_1]; let own_bits_1 = chosen_bits[slot_of_1]; var smaller_1 = 0u;
  for (var other = 0u; other < m; other += 8u) {
    {
      let key = chosen_keys[other + 0u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
    {
      let key = chosen_keys[other + 1u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
    {
      let key = chosen_keys[other + 2u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
    {
      let key = chosen_keys[other + 3u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
    {
      let key = chosen_keys[other + 4u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
    {
      let key = chosen_keys[other + 5u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
    {
      let key = chosen_keys[other + 6u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
    {
      let key = chosen_keys[other + 7u];
      smaller_0 += u32(key < own_0); smaller_1 += u32(key < own_1);
    }
  }
  let largest = number_of(most);
  let value_start = (row.local_head / params.group) * params.key_length;
  
  if (t + 0u < m) {
    ordered[smaller_0] = vec2u(
      (value_start + own_0) * 16u + params.v_base / 4u,
      bitcast<u32>(exp(bitcast<f32>(own_bits_0) - largest)),
    );
    
  }
  if (t + 32u < m) {
    ordered[smaller_1] = vec2u(
      (value_start + own_1) * 16u + params.v_base / 4u,
      bitcast<u32>(exp(bitcast<f32>(own_bits_1) - largest)),
    );
    
  }
  workgroupBarrier();

  var total = vec4f();
  for (var slot = t; slot < m; slot += 32u) { total.x += bitcast<f32>(ordered[slot].y); }
  total += subgroupShuffleXor(total, 16u);
    total += subgroupShuffleXor(total, 8u);
    total += subgroupShuffleXor(total, 4u);
    total += subgroupShuffleXor(total, 2u);
    total += subgroupShuffleXor(total, 1u);
  let lane = t % 16u;
  var sum_0 = vec4f();
  for (var slot = t / 16u; slot < m; slot += 16u) {
    let slot_0 = slot + 0u;
    let entry_0 = ordered[min(slot_0, m - 1u)];
    let slot_1 = slot + 2u;
    let entry_1 = ordered[min(slot_1, m - 1u)];
    let slot_2 = slot + 4u;
    let entry_2 = ordered[min(slot_2, m - 1u)];
    let slot_3 = slot + 6u;
    let entry_3 = ordered[min(slot_3, m - 1u)];
    let slot_4 = slot + 8u;
    let entry_4 = ordered[min(slot_4, m - 1u)];
    let slot_5 = slot + 10u;
    let entry_5 = ordered[min(slot_5, m - 1u)];
    let slot_6 = slot + 12u;
    let entry_6 = ordered[min(slot_6, m - 1u)];
    let slot_7 = slot + 14u;
    let entry_7 = ordered[min(slot_7, m - 1u)];
    {
      let value_0 = unpack_quad(v[entry_0.x + lane + 0u]);
      let value_1 = unpack_quad(v[entry_1.x + lane + 0u]);
      let value_2 = unpack_quad(v[entry_2.x + lane + 0u]);
      let value_3 = unpack_quad(v[entry_3.x + lane + 0u]);
      let value_4 = unpack_quad(v[entry_4.x + lane + 0u]);
      let value_5 = unpack_quad(v[entry_5.x + lane + 0u]);
      let value_6 = unpack_quad(v[entry_6.x + lane + 0u]);
      let value_7 = unpack_quad(v[entry_7.x + lane + 0u]);
      if (slot_0 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_0.y)), value_0, sum_0); }
      if (slot_1 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_1.y)), value_1, sum_0); }
      if (slot_2 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_2.y)), value_2, sum_0); }
      if (slot_3 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_3.y)), value_3, sum_0); }
      if (slot_4 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_4.y)), value_4, sum_0); }
      if (slot_5 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_5.y)), value_5, sum_0); }
      if (slot_6 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_6.y)), value_6, sum_0); }
      if (slot_7 < m) { sum_0 = fma(vec4f(bitcast<f32>(entry_7.y)), value_7, sum_0); }
    }
  }
  let nan = bitcast<f32>(NAN_BITS | (params.k & 1u));
  let at = params.out_base / 4u + (row.local_head * params.query_length + row.local_query) * 16u;
  {
    sum_0 += subgroupShuffleXor(sum_0, 16u);
    if (t < 16u && lane + 0u < 16u) {
      var value = sum_0 / total.x;
      if (m == 0u) { value = vec4f(); }
      if (is_nan_row || most >= PLUS_INF_KEY) { value = vec4f(nan); }
      store_output(at + lane + 0u, value);
    }
  }
}
