const LOWEST_BITS = 0xff7fffffu;
/** `key_of(LOWEST_BITS)`. */
const LOWEST_KEY = 0x00800000u;

/** Groups of the row's tile that the first sweep wrote. */
fn written_groups(index: u32) -> u32 {
  let rows = params.group * params.queries;
  let first_row = (index % rows) / ${rows}u * ${rows}u;
  let shift = params.shift;
  let count = (tile_sees(index / rows, first_row, rows).y + (1u << shift) - 1u) >> shift;
  let tiles = (count + ${last_key}u) / ${tile_keys}u;
  return select(min(32u * tiles, ${groups}u), ${tile_keys}u * tiles, count <= ${groups}u);
}

fn is_unsafe(row: Row, t: u32, visible: u32) -> bool {
  let key_head = (params.first_head + row.local_head) / params.group;
  var found = u32(unsafe_keys[key_head * ${guard_parts}u + t] < visible${bias_is_unsafe});
  let start = params.q_base + (row.local_head * params.query_length + row.local_query) * ${head_dim}u;
  for (var d = t; d < ${head_dim}u; d += ${team}u) {
    let at = start + d;
    if (is_unsafe_word(${element})) { found = 1u; }
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
    ${load_keys}
    var prefix = 0u;
    for (var bit = 0x80000000u; bit > 0x20u; bit >>= 1u) {
      let candidate = prefix | bit;
      let reached = team_sum(t, ${own_reached});
      if (reached >= rank) { prefix = candidate; }
      ${stop_at_rank}
    }
    if (prefix > LOWEST_KEY) {
      bits = bits_of_key(prefix - 1u);
    }
  }
  if (t == 0u) {
    thresholds[index] = bits;
    counts[index] = select(0u, ${unsafe}u, found_unsafe);
    if (index < params.heads / params.group) { slow[index] = 0u; }
  }
}
