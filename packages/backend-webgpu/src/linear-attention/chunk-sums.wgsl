const TILE = 32u;

var<workgroup> x_tile: array<f32, 1024>;
var<workgroup> y_tile: array<f32, 1024>;

#if scaled
// Of a key, relative to the largest log scale at the end of its chunk; of a query, from what it is relative to, to the one
// before its chunk.
fn factor_of(group: u32, position: i32, begin: i32, end: i32) -> f32 {
  let at = group * params.keys;
  let peaks_at = at + group;
  if (params.backwards != 0u) {
    return exp(peaks[peaks_at + u32(begin)] - peaks[peaks_at + u32(position + 1)]);
  }
  return exp(logs[at + u32(position)] - peaks[peaks_at + u32(end)]);
}
#endif

@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let first_feature = (group.x / params.tiles) * TILE;
  let first_column = (group.x % params.tiles) * TILE;
  // Positions may begin before the first row.
  let begin = params.first + i32(group.y * params.chunk);
  let end = min(begin + i32(params.chunk), params.end);

  var sums = vec4f(0.0);
  for (var head = 0u; head < params.heads; head++) {
    let first_row = (group.z * params.heads + head) * params.length;
    for (var start = begin; start < end; start += i32(TILE)) {
      for (var i = 0u; i < 4u; i++) {
        let row = start + i32(local.y + 8u * i);
        let at = (local.y + 8u * i) * TILE + local.x;
        let inside = row >= 0 && row < end;
        var x_value = 0.0;
        var y_value = 0.0;
        if (inside && first_feature + local.x < params.features) {
          x_value = x[(first_row + u32(row)) * params.features + first_feature + local.x];
        }
        if (inside && first_column + local.x < params.columns) {
          y_value = y[(first_row + u32(row)) * params.columns + first_column + local.x];
        }
#if scaled
        if (inside) { x_value *= factor_of(group.z, row + params.offset, begin + params.offset, end + params.offset); }
#endif
        x_tile[at] = x_value;
        y_tile[at] = y_value;
      }
      workgroupBarrier();
      for (var row = 0u; row < TILE; row++) {
        let y_value = y_tile[row * TILE + local.x];
        let at = row * TILE + 4u * local.y;
        sums += y_value * vec4f(x_tile[at], x_tile[at + 1u], x_tile[at + 2u], x_tile[at + 3u]);
      }
      workgroupBarrier();
    }
  }
  if (first_column + local.x >= params.columns) { return; }
  for (var i = 0u; i < 4u; i++) {
    let feature = first_feature + 4u * local.y + i;
    if (feature >= params.features) { return; }
    let matrix = group.y * params.groups + group.z;
    out[(matrix * params.features + feature) * params.columns + first_column + local.x] = sums[i];
  }
}
