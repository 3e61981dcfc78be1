/** z / 2 less the half of the row's largest z. Nothing that is -1 or less has a weight, as tau is at least -1. */
fn halves(bits: vec4u, largest: f32) -> vec4f {
  let below = max(0.5 * bitcast<vec4f>(bits) - largest, vec4f(-1.0));
  return select(below, vec4f(-1.0), bits == vec4u(MINUS_INF_BITS));
}
fn above(below: vec4f, tau: f32) -> vec4f { return max(below - tau, vec4f()); }
/** The sum and the sum of the squares. */
fn terms(part: vec4f) -> vec2f { return vec2f(total_of(part), dot(part, part)); }
/** A row of all -inf gives zeros, one with NaN or +inf NaN throughout. */
fn result(below: vec4f, key: u32, tau: f32, squares: f32) -> vec4f {
  if (key == BAD) { return bitcast<vec4f>(vec4u(select(0x7fc00000u, 0u, key != BAD))); }
  if (key == MINUS_INF_KEY) { return vec4f(); }
  let part = above(below, tau);
  return part * part / squares;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = row * params.width;
  let seen = seen_from(row);
  let first = 4u * (local % LANES);
#if is_held
  ${held_key}
#else
  var mine = MINUS_INF_KEY;
  for (var j = first; j < width; j += 4u * LANES) { mine = max(mine, quad_key(load_quad(start, seen, j, width))); }
  let key = row_key(local, mine);
#endif
  var going = key != BAD && key != MINUS_INF_KEY;
  let largest = 0.5 * select(0.0, float_of(key), going);
#if is_held
  ${held_halves}
#endif
  // Newton's steps from the left of the root; rounding ends them where tau no longer grows. The sums are those of tau.
  var tau = -1.0;
  var squares = 1.0;
  for (var step = 0u; step <= params.steps; step++) {
    var part = vec2f();
    if (going) {
#if is_held
      ${held_terms}
#else
      for (var j = first; j < width; j += 4u * LANES) {
        part += terms(above(halves(load_quad(start, seen, j, width), largest), tau));
      }
#endif
    }
    let sums = row_pair(local, part, going);
    if (going) {
      squares = sums.y;
      let length = sqrt(squares);
      let next = tau + (length - 1.0) * length / sums.x;
      going = step < params.steps && next > tau;
      if (going) { tau = next; }
    }
  }
#if is_held
  ${held_results}
#else
  for (var j = first; j < width; j += 4u * LANES) {
    store_quad(start, j, width, result(halves(load_quad(start, seen, j, width), largest), key, tau, squares));
  }
#endif
}
