var<workgroup> sums: array<vec4f, INVOCATIONS>;
var<workgroup> magnitudes: array<u32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  // Eight invocations a row.
  let r = 32u * (group.x + group.y * groups.x) + t / 8u;
  let eighth = t % 8u;
  let rows = params.heads * params.queries;
  let row = row_at(r);
  let exists = r < rows && row.query < params.query_length;
  let at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * ${fours}u;
  var most = 0u;
  for (var four = eighth; four < ${fours}u; four += 8u) {
    if (exists) { most = max(most, largest_of(load_q(at + four))); }
  }
  magnitudes[t] = most;
  workgroupBarrier();
  most = 0u;
  for (var i = 0u; i < 8u; i++) { most = max(most, magnitudes[(t & ~7u) + i]); }
  let is_finite = most < INF_BITS;
  let exponent = clamp(254 - i32(most >> 23u), 1, 254);
  let near_one = bitcast<f32>(u32(exponent) << 23u);
  let key_head = key_head_of(min(row.local_head, params.heads - 1u));
  // Of the row: its square, its product with the centre; of the centre: its square.
  var sum = vec4f();
  for (var four = eighth; four < ${fours}u; four += 8u) {
    if (exists && is_finite) {
      let x = load_q(at + four) * near_one;
      let centre = centres[key_head * ${fours}u + four];
      sum += vec4f(dot(x, x), dot(x, centre), dot(centre, centre), 0.0);
    }
  }
  sums[t] = sum;
  workgroupBarrier();
  sum = vec4f();
  for (var i = 0u; i < 8u; i++) { sum += sums[(t & ~7u) + i]; }
  let norm = sqrt(sum.x);
  let usable = exists && is_finite && norm > 0.0;
  let turn = select(0.0, select(${query_norm}, -${query_norm}, params.scale < 0.0) / norm, usable);
  if (r < rows) {
    for (var four = eighth; four < ${fours}u; four += 8u) {
      var x = vec4f();
      if (usable) { x = (load_q(at + four) * near_one) * turn; }
      prepared[r * ${fours}u + four] = vec2u(halves_of(x.x, x.y), halves_of(x.z, x.w));
    }
    if (eighth == 0u) {
      let factor = factor_of(largest[2u * key_head]);
      let length = norm / near_one;
      let unit = (length * abs(params.scale)) / (factor * ${query_norm});
      let shift = (sum.y / near_one) * params.scale;
      let doubt = length * sqrt(sum.z) * abs(params.scale) * ${shift_doubt};
      let is_usual = is_finite && unit > 1e-30 && unit < 1e30 && abs(shift) < 1e30 && doubt < 1e30;
      // A query of zeros scores 0 with every finite key.
      var kind = select(${refused}, ${usual}, is_usual);
      if (exists && most == 0u && largest[2u * key_head + 1u] == 0u) { kind = ${zero}; }
      units[r] = vec4f(unit, shift, doubt, kind);
    }
  }
}
