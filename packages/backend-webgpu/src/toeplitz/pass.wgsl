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

/** Number t of a series. */
fn load(lane: Lane, head: u32, is_kernel: bool, t: u32) -> vec2f {
  var value = vec2f();
#if from_factors
  if (is_kernel) { value = kernel_at(params.first_head + head, lane.position + t * params.step); }
#endif
#if from_columns
  if (!is_kernel) { value = columns_of_x(lane, lane.position + t * params.step); }
#endif
#if from_parts
  value = parts[lane.at + t * lane.stride];
#endif
  return value;
}

fn store(lane: Lane, head: u32, is_kernel: bool, t: u32, value: vec2f) {
#if to_spectrum
  if (is_kernel) { spectrum[lane.at + t * lane.stride] = value; }
#endif
#if to_parts
  if (!is_kernel) { parts[lane.at + t * lane.stride] = value; }
#endif
#if to_columns
  store_columns(lane, lane.position + t * params.step, value);
#endif
#if to_distances
  let position = lane.position + t * params.step;
  let begin = (params.first_head + head) * (2u * params.tokens - 1u) + params.tokens - 1u;
  let below = (1u << params.log_total) - position;
  let sum = value.x * power_of_two(-i32(params.log_total));
  if (position < params.tokens) { distances[begin + position] = sum; }
  else if (below < params.tokens) { distances[begin - below] = sum; }
#endif
}

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
  let head = group.z;
  let i = local >> params.log_lanes;
  let in_tile = local & ((1u << params.log_lanes) - 1u);
  let works = lane.is_inside && i < ${invocations}u;
  var v = Numbers();
  if (works) {
${reads}
  }
#if turns_before
  swap(&v);
  if (works) { turn_frequencies(&v, lane.offset, i); }
  swap(&v);
#endif
#if is_forward
  forward(&v, in_tile, i, works);
#endif
#if multiplies
  if (works) {
    let begin = (head << params.log_total) + lane.position;
${products}
  }
#endif
#if is_inverse
  inverse(&v, in_tile, i, works);
#endif
  if (works) {
#if turns_after
    turn_frequencies(&v, lane.offset, i);
#endif
${writes}
  }
}
