fn total_of(values: vec4f) -> f32 { return (values.x + values.y) + (values.z + values.w); }
/** s, and s g, summed. */
fn terms(root: vec4f, given: vec4f) -> vec2f { return vec2f(total_of(root), total_of(root * given)); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = row * params.width;
  let first = 4u * (local % LANES);
#if is_held
  ${held_terms}
#else
  var part = vec2f();
  for (var j = first; j < width; j += 4u * LANES) {
    part += terms(sqrt(load_weights(start, j, width)), load_given(start, j, width));
  }
#endif
  let sums = row_pair(local, part, true);
  let mean = sums.y / select(sums.x, 1.0, sums.x == 0.0);
#if is_held
  ${held_results}
#else
  for (var j = first; j < width; j += 4u * LANES) {
    let root = sqrt(load_weights(start, j, width));
    store_quad(start, j, width, root * (load_given(start, j, width) - mean));
  }
#endif
}
