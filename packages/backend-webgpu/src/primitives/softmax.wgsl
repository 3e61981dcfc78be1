/** A row of all -inf gives zeros, one with NaN or +inf NaN throughout. */
fn result(bits: vec4u, key: u32, largest: f32, sum: f32) -> vec4f {
  if (key == BAD) { return bitcast<vec4f>(vec4u(select(0x7fc00000u, 0u, key != BAD))); }
  if (key == MINUS_INF_KEY) { return vec4f(); }
  return weights(bits, largest) / sum;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = params.x_base + row * params.width;
  let to = params.out_base + row * params.width;
  let first = 4u * (local % LANES);
#if is_held
  ${held_row}
#else
  var mine = MINUS_INF_KEY;
  var part = 0.0;
  for (var j = first; j < width; j += 4u * LANES) {
    let bits = load_quad(start, j, width);
    ${running_sum}
  }
  let key = row_key(local, mine);
  let largest = float_of(key);
  let sum = joined_sum(local, mine, part, key);
  for (var j = first; j < width; j += 4u * LANES) {
    store_quad(to, j, width, result(load_quad(start, j, width), key, largest, sum));
  }
#endif
}
