/** Rows of a tile, and columns of a workgroup. */
const TILE = 32u;
/** Features of a workgroup, in fours. */
const FOURS = INVOCATIONS_Y;
const FEATURES = 4u * FOURS;
const INVOCATIONS = INVOCATIONS_X * INVOCATIONS_Y;

var<workgroup> x_tile: array<vec4f, TILE * FOURS>;
var<workgroup> y_tile: array<vec4f, 256>;
/** The column after those of the workgroup. */
var<workgroup> last_column: array<f32, TILE>;
var<workgroup> halves: array<f32, INVOCATIONS>;

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

/** The feature of a workgroup that is element `i` of a four. Lanes beside each other read, and write, what lies together. */
fn feature_of(four: u32, i: u32) -> u32 {
#if fours
  return 4u * four + i;
#else
  return four + FOURS * i;
#endif
}

/** Likewise the column. */
fn column_of(four: u32, i: u32) -> u32 { return four + INVOCATIONS_X * i; }

fn x_at(row: u32, first_feature: u32, four: u32) -> vec4f {
#if fours
  let feature = first_feature + feature_of(four, 0u);
  if (feature >= params.features) { return vec4f(); }
  return x[(row * params.features + feature) / 4u];
#else
  var value = vec4f();
  for (var i = 0u; i < 4u; i++) {
    let feature = first_feature + feature_of(four, i);
    if (feature < params.features) { value[i] = x[row * params.features + feature]; }
  }
  return value;
#endif
}

@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let t = local.y * INVOCATIONS_X + local.x;
  let first_feature = (group.x / params.tiles) * FEATURES;
  let first_column = (group.x % params.tiles) * TILE;
  let has_last = first_column + TILE + 1u == params.columns;
  // Positions may begin before the first row.
  let begin = params.first + i32(group.y * params.chunk);
  let end = min(begin + i32(params.chunk), params.end);

  // Of a feature each, for four columns.
  var sums: array<vec4f, 4>;
  // Of the last column, over half of the rows.
  var last = 0.0;
  for (var head = 0u; head < params.heads; head++) {
    let first_row = (group.z * params.heads + head) * params.length;
    for (var start = begin; start < end; start += i32(TILE)) {
      for (var i = 0u; i < 4u; i++) {
        let at = t + INVOCATIONS * i;
        let row = start + i32(at / FOURS);
        var value = vec4f();
        if (row >= 0 && row < end) {
          value = x_at(first_row + u32(row), first_feature, at % FOURS);
#if hides
          let is_visible = y[(first_row + u32(row)) * params.columns + params.columns - 1u] != 0.0;
          value = select(vec4f(), value, is_visible);
#endif
#if scaled
          value *= factor_of(group.z, row + params.offset, begin + params.offset, end + params.offset);
#endif
        }
        x_tile[at] = value;
      }
      for (var at = t; at < 256u; at += INVOCATIONS) {
        let row = start + i32(at / 8u);
        var value = vec4f();
        if (row >= 0 && row < end) {
          let row_at = (first_row + u32(row)) * params.columns;
          for (var i = 0u; i < 4u; i++) {
            let column = first_column + column_of(at % 8u, i);
            if (column < params.columns) { value[i] = y[row_at + column]; }
          }
        }
        y_tile[at] = value;
      }
      if (has_last && t < TILE) {
        let row = start + i32(t);
        var value = 0.0;
        if (row >= 0 && row < end) { value = y[(first_row + u32(row) + 1u) * params.columns - 1u]; }
        last_column[t] = value;
      }
      workgroupBarrier();
      for (var row = 0u; row < TILE; row++) {
        let values = y_tile[row * 8u + local.x];
        let features = x_tile[row * FOURS + local.y];
        sums[0] += features.x * values;
        sums[1] += features.y * values;
        sums[2] += features.z * values;
        sums[3] += features.w * values;
      }
      if (has_last) {
        let at = t % FEATURES;
        let first = t / FEATURES * (TILE / 2u);
        for (var row = first; row < first + TILE / 2u; row++) {
          last += x_tile[row * FOURS + at % FOURS][at / FOURS] * last_column[row];
        }
      }
      workgroupBarrier();
    }
  }
  let matrix = (group.y * params.groups + group.z) * params.features;
  if (has_last) {
    halves[t] = last;
    workgroupBarrier();
    let feature = first_feature + feature_of(t % FOURS, t / FOURS);
    if (t < FEATURES && feature < params.features) {
      out[(matrix + feature + 1u) * params.columns - 1u] = halves[t] + halves[t + FEATURES];
    }
  }
  for (var i = 0u; i < 4u; i++) {
    let feature = first_feature + feature_of(local.y, i);
    if (feature >= params.features) { return; }
    for (var c = 0u; c < 4u; c++) {
      let column = first_column + column_of(local.x, c);
      if (column < params.columns) { out[(matrix + feature) * params.columns + column] = sums[i][c]; }
    }
  }
}
