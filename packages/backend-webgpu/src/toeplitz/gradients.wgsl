/** Of x, behind that of the output's gradient. */
const SECOND = TILE / 2u;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = lane_of(group, local, params.series);
  let first = local >> params.log_lanes;
  let rows = INVOCATIONS >> params.log_lanes;
  let length = 1u << params.log_length;
  let in_tile = local & ((1u << params.log_lanes) - 1u);

  for (var t = first; t < length; t += rows) {
    var upstream = vec2f();
    var value = vec2f();
    if (lane.is_inside) {
#if from_columns
      if (t < params.tokens) {
        let at = lane.column + t * params.columns;
        upstream.x = g[params.g_base + at];
        value.x = x[params.x_base + at];
        if (lane.has_second) {
          upstream.y = g[params.g_base + at + 1u];
          value.y = x[params.x_base + at + 1u];
        }
      }
#else
      upstream = parts[lane.at + t * lane.stride];
      value = x_parts[lane.at + t * lane.stride];
#endif
    }
    tile[(t << params.log_lanes) + in_tile] = upstream;
    tile[SECOND + (t << params.log_lanes) + in_tile] = value;
  }
  workgroupBarrier();
  forward(0u, local);
  forward(SECOND, local);

  // Sums over the lanes, one invocation for each frequency.
  for (var t = local; t < length; t += INVOCATIONS) {
    var sum = vec2f();
    let begin = t << params.log_lanes;
    for (var i = 0u; i < (1u << params.log_lanes); i++) {
      sum += times(conjugate(tile[begin + i]), tile[SECOND + begin + i]);
    }
    let block = group.z * groups.x + group.x;
    correlations[(block << params.log_total) + (group.y << params.log_length) + t] = sum;
  }
  workgroupBarrier();

  for (var t = first; t < length; t += rows) {
    let at = (t << params.log_lanes) + in_tile;
    let place = (group.z << params.log_total) + (group.y << params.log_length) + t;
    // Transposed, distances change their sign: the spectrum of a real kernel is conjugated.
    tile[at] = times(tile[at], conjugate(spectrum[place]));
  }
  workgroupBarrier();
  inverse(0u, local);

  if (!lane.is_inside) { return; }
  for (var t = first; t < length; t += rows) {
    let value = tile[(t << params.log_lanes) + in_tile];
#if from_columns
    if (t < params.tokens) {
      let at = params.y_base + lane.column + t * params.columns;
      let made = value * power_of_two(-i32(params.log_total));
      y[at] = made.x;
      if (lane.has_second) { y[at + 1u] = made.y; }
    }
#else
    parts[lane.at + t * lane.stride] = value;
#endif
  }
}
