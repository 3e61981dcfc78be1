#if from_factors
/** The kernel of the convolution at a place on the circle: factors by opposite distances, zeros between. */
fn kernel_at(head: u32, position: u32) -> vec2f {
  let begin = head * (2u * params.tokens - 1u) + params.tokens - 1u;
  if (position < params.tokens) { return vec2f(factors[begin - position], 0.0); }
  let below = (1u << params.log_total) - position;
  if (below < params.tokens) { return vec2f(factors[begin + below], 0.0); }
  return vec2f();
}
#endif

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
#if has_both
  // The last workgroups are those of the kernels, of which each head has one.
  let is_kernel = group.x >= params.blocks;
  let block = select(group.x, group.x - params.blocks, is_kernel);
  let lane = lane_of(vec3u(block, group.yz), local, select(params.series, 1u, is_kernel));
#else
  let is_kernel = ${is_kernel};
  let lane = lane_of(group, local, params.series);
#endif
  let first = local >> params.log_lanes;
  let rows = INVOCATIONS >> params.log_lanes;
  let length = 1u << params.log_length;
  let in_tile = local & ((1u << params.log_lanes) - 1u);

  for (var t = first; t < length; t += rows) {
    var value = vec2f();
    let position = lane.position + t * params.step;
    if (lane.is_inside) {
#if from_factors
      if (is_kernel) { value = kernel_at(params.first_head + group.z, position); }
#endif
#if from_columns
      if (!is_kernel && position < params.tokens) {
        let at = params.x_base + lane.column + position * params.columns;
        value.x = x[at];
        if (lane.has_second) { value.y = x[at + 1u]; }
      }
#endif
#if from_parts
      value = parts[lane.at + t * lane.stride];
#endif
#if turns_before
      value = times(value, conjugate(turn(lane.offset * frequency(t), params.log_total)));
#endif
    }
    tile[(t << params.log_lanes) + in_tile] = value;
  }
  workgroupBarrier();

#if is_forward
  forward(0u, local);
#endif
#if multiplies
  for (var t = first; t < length; t += rows) {
    let at = (t << params.log_lanes) + in_tile;
    if (lane.is_inside) {
      let place = (group.z << params.log_total) + lane.position + t;
      tile[at] = times(tile[at], spectrum[place]);
    }
  }
  workgroupBarrier();
#endif
#if is_inverse
  inverse(0u, local);
#endif

  if (!lane.is_inside) { return; }
  for (var t = first; t < length; t += rows) {
    var value = tile[(t << params.log_lanes) + in_tile];
    let position = lane.position + t * params.step;
#if turns_after
    value = times(value, turn(lane.offset * frequency(t), params.log_total));
#endif
#if to_spectrum
    if (is_kernel) { spectrum[lane.at + t * lane.stride] = value; }
#endif
#if to_parts
    if (!is_kernel) { parts[lane.at + t * lane.stride] = value; }
#endif
#if to_columns
    if (position < params.tokens) {
      let at = params.y_base + lane.column + position * params.columns;
      value *= power_of_two(-i32(params.log_total));
      y[at] = value.x;
      if (lane.has_second) { y[at + 1u] = value.y; }
    }
#endif
#if to_distances
    let begin = (params.first_head + group.z) * (2u * params.tokens - 1u) + params.tokens - 1u;
    let below = (1u << params.log_total) - position;
    let sum = value.x * power_of_two(-i32(params.log_total));
    if (position < params.tokens) { distances[begin + position] = sum; }
    else if (below < params.tokens) { distances[begin - below] = sum; }
#endif
  }
}
