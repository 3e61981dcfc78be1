@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  let job = group.x + group.y * groups.x;
  if (job >= params.count) { return; }
  let head = job / params.tiles;
  let tile = job % params.tiles;
  let factor = factor_of(largest[2u * head]);
  for (var i = t; i < ${tile_fours}u; i += INVOCATIONS) {
    let key = 16u * tile + i / ${fours}u;
    let four = i % ${fours}u;
    var x = vec4f();
    if (key < params.key_length) {
      x = load_k(params.k_base / 4u + (head * params.key_length + key) * ${fours}u + four) - centres[head * ${fours}u + four];
    }
    let within = i / ${fours}u;
    let column = select(2u * within - 16u, 2u * within + 1u, within < 8u); // the inverse of keyOfColumn
    let magnitude = largest_of(x);
    magnitudes[i] = magnitude;
    x = select(x * factor, vec4f(), magnitude >= INF_BITS);
    squares[i] = dot(x, x);
    let at = (head * params.tiles + tile) * ${tile_fours}u + (four / 4u) * 64u + column * 4u + four % 4u;
    packed[at] = vec2u(halves_of(x.x, x.y), halves_of(x.z, x.w));
  }
  workgroupBarrier();
  if (t < 16u) {
    var sum = 0.0;
    var most = 0u;
    for (var four = 0u; four < ${fours}u; four++) {
      sum += squares[t * ${fours}u + four];
      most = max(most, magnitudes[t * ${fours}u + four]);
    }
    norms[t] = select(sqrt(sum) * ${relative_bound} + ${absolute_bound}, ${unbounded}, most >= INF_BITS);
  }
  workgroupBarrier();
  if (t == 0u) {
    var bound = 0.0;
    for (var key = 0u; key < 16u; key++) { bound = max(bound, norms[key]); }
    bounds[head * params.tiles + tile] = bound;
  }
}
