fn visible_keys(query: u32, batch: u32) -> u32 { return visible_of(Row(0u, batch, 0u, query, 0u)); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  // Not the built-in value: of this one the compiler knows the range, and leaves out checks of bounds.
  let lane = t & 31u;
  let query_tiles = params.queries / ${rows}u;
  let job = group.x + group.y * groups.x;
  if (job >= params.heads * query_tiles) { return; }
  let head = job % params.heads;
  let query_tile = query_tiles - 1u - job / params.heads;
  let flat = params.first_head + head;
  let batch = flat / params.query_heads;
  let key_head = key_head_of(head);
  let subgroup = t / 32u;
  let store_at = subgroup * ${tile_words}u;
  let read_at = store_at + lane;
  let first_query = params.first_query + query_tile * ${rows}u;
  let first_row = head * params.queries + query_tile * ${rows}u + subgroup * ${rows_of_subgroup}u;
  let row = first_row + lane;
  let last_query = min(first_query + ${last_row}u, params.query_length - 1u);
  let visible = visible_keys(min(first_query + subgroup * ${rows_of_subgroup}u + lane, last_query), batch);
  let fewest = visible_keys(first_query, batch);
  let most = visible_keys(last_query, batch);
  let unit = units[row];
  ${prepare_biases}
  let list_at = row * ${capacity}u;
  let groups_at = first_row * ${capacity}u + lane;
  let k = params.k;
  let bounds_at = key_head * params.tiles;
  let keys_at = bounds_at * ${tile_size}u;
  ${load_queries}
  let steps = (most + 31u) / 32u;
  var bar = ${minus_unbounded};
  if (most > ${capacity}u) {
    let sampled = most >= params.sampled_from && counters[${caution}] == 0u;
    let stride = select(1u, params.stride, sampled);
    let sweep_steps = select(steps, most / (32u * params.stride), sampled);
    let rank = f32(select(k, params.rank, sampled));
    var low = 1e30;
    var high = -1e30;
    var bound_sum = 0.0;
    for (var phase = 0u; phase < ${phases}u; phase++) {
      ${declare_maxima}
      for (var step = phase; step < sweep_steps; step += ${phases}u) {
        let tile0 = step * stride;
        let tile1 = (step + sweep_steps) * stride;
        let bound0 = bounds[bounds_at + tile0];
        let bound1 = bounds[bounds_at + tile1];
        bound_sum += select(bound0, 0.0, bound0 >= ${unbounded}) + select(bound1, 0.0, bound1 >= ${unbounded});
        ${take_maxima_of_tiles}
      }
      let at = groups_at + phase * 256u;
      ${clamp_maxima}
      ${emit_maxima}
    }
    ${find_guess}
    bar = guess - bound_sum / f32(2u * max(sweep_steps, 1u));
    if (!enough) { bar = ${minus_unbounded}; }
  }
  // Lists overwrite the maxima of other lanes.
  storageBarrier();
  workgroupBarrier();

  let is_zero = ${is_zero};
  let room = select(${capacity}u, k, is_zero);
  var count = 0u;
  for (var step = 0u; step < steps; step++) {
    let tile0 = 2u * step;
    let tile1 = tile0 + 1u;
    var listed = vec2u();
    ${list_tiles}
    // In one word, key i of the 32 as bit 31 - i: see `keyOfColumn`.
    let high = (listed.x & 0xff000000u) | ((listed.x & 0xff00u) << 8u);
    var found = high | ((listed.y & 0xff000000u) >> 16u) | ((listed.y & 0xff00u) >> 8u);
    if (32u * step + 32u > fewest) {
      let inside = i32(visible) - i32(32u * step);
      found &= ~select(0xffffffffu >> u32(clamp(inside, 0, 31)), 0u, inside >= 32);
    }
    if (count > room) { found = 0u; }
    while (found != 0u) {
      let bit = firstLeadingBit(found);
      found &= ~(1u << bit);
      if (count < room) { lists[list_at + count] = 32u * step + 31u - bit; }
      count++;
    }
  }
  let above_shift = bar * unit.x;
  let shift = unit.y${plus_far_bias};
  let doubt = unit.z + ${threshold_slack} * (abs(above_shift) + ${shift_slack} * (abs(unit.y)${plus_size_of_far_bias}));
  var threshold_bits = bitcast<u32>(above_shift + shift + doubt);
  if (bar <= ${minus_unbounded}) { threshold_bits = 0xff800000u; }
  if (is_zero) { // scores 0 everywhere: its first k keys are its best
    count = min(count, k);
    threshold_bits = select(0u, 0xff800000u, count < k);
  }
  if (${is_refused}) { count = 0xffffffffu; }
  heads[row] = vec2u(count, threshold_bits);
}
