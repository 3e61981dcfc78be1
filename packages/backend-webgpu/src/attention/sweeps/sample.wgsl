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
    let at = start + tile * ${tile_keys}u + 4u * quad;
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
  let row_tiles = (rows + ${last_row}u) / ${rows}u;
  let index = id.x + id.y * groups.x;
  if (index < params.guards) {
    guard_keys(index, t);
    return;
  }
  let job = index - params.guards;
  if (job >= shares * row_tiles * (params.heads / params.group)) { return; }
  let share = job % shares;
  let first_row = ${rows}u * (job / shares % row_tiles);
  let key_head = job / shares / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let count = (sees.y + (1u << shift) - 1u) >> shift;
  let tiles = (count + ${last_key}u) / ${tile_keys}u;
  let is_single = count <= params.groups;
  // Tiles of one share fall into the same groups, so that no two workgroups meet in one.
  let cycle = params.groups / 32u;
  let run = cycle / shares;
  let end = min(params.end_tile, tiles);
  var tile = next_tile(params.first_tile, cycle, run, share);
  if (tile >= end) { return; }
  ${places}
  ${start}
  while (tile < end) {
    let next = next_tile(tile + 1u, cycle, run, share);
    ${products}
    let near_keys = quad_keys(tile, tx, tiles, shift);
    let far_keys = quad_keys(tile, tx + 16u, tiles, shift);
    ${store_rows}
    tile = next;
  }
}
