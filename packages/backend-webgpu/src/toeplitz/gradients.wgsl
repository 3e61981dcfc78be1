/** Of x, behind that of the output's gradient: the second half of the workgroup transforms it. */
const SECOND = TILE / 2u;

fn conjugate(a: vec2f) -> vec2f { return vec2f(a.x, -a.y); }

/** Number t of a series of the output's gradient, or of x. */
fn load(lane: Lane, is_second: bool, t: u32) -> vec2f {
#if from_columns
  if (is_second) { return columns_of_x(lane, t); }
  return columns_of_g(lane, t);
#else
  if (is_second) { return x_parts[lane.at + t * lane.stride]; }
  return parts[lane.at + t * lane.stride];
#endif
}

/** Of the gradient of x. */
fn store(lane: Lane, t: u32, value: vec2f) {
#if from_columns
  store_columns(lane, t, value);
#else
  parts[lane.at + t * lane.stride] = value;
#endif
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let is_second = local >= INVOCATIONS / 2u;
  let own = local % (INVOCATIONS / 2u);
  let lane = lane_of(group, own, params.series);
  let i = own >> params.log_lanes;
  let lanes = 1u << params.log_lanes;
  let begin = select(0u, SECOND, is_second) + (own & (lanes - 1u));
  let works = i < ${invocations}u;
  var v = Numbers();
  if (works && lane.is_inside) {
${loads}
  }
  forward(&v, begin, i, works);
  if (works) {
${puts}
  }
  workgroupBarrier();

  // Sums over the lanes, one invocation for each frequency. Each begins at a lane of its own: they are in banks of their own.
  for (var t = local; t < ${length}u; t += INVOCATIONS) {
    var sum = vec2f();
    for (var lane = 0u; lane < lanes; lane++) {
      let at = slot((t << params.log_lanes) + ((lane + t) & (lanes - 1u)));
      sum += times(conjugate(tile[at]), tile[SECOND + at]);
    }
    let block = group.z * groups.x + group.x;
    correlations[(block << params.log_total) + (group.y << ${log}u) + t] = sum;
  }
  workgroupBarrier();

  let is_kept = works && lane.is_inside && !is_second;
  if (is_kept) {
    let place = (group.z << params.log_total) + (group.y << ${log}u);
    // Transposed, distances change their sign: the spectrum of a real kernel is conjugated.
${products}
  }
  inverse(&v, begin, i, is_kept);
  if (is_kept) {
${stores}
  }
}
