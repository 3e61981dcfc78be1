/** Rows of a workgroup, four of an invocation: INVOCATIONS_Y apart. */
const ROWS = 64u;
/** Columns of a workgroup in fours, one of an invocation. */
const FOURS = INVOCATIONS_X;
const COLUMNS = 4u * FOURS;
const INVOCATIONS = INVOCATIONS_X * INVOCATIONS_Y;
/** Elements of A's rows that are multiplied at a time. */
const STEP = 16u;
/** Fours from one row to the next in workgroup memory: one more than needed, so that rows begin in different banks. */
const LEFT_STRIDE = STEP / 4u + 1u;
const RIGHT_STRIDE = FOURS + 1u;
/** Parts into which a step is cut for the last column. */
const PARTS = INVOCATIONS / ROWS;

var<workgroup> left: array<vec4f, ROWS * LEFT_STRIDE>;
var<workgroup> right: array<vec4f, STEP * RIGHT_STRIDE>;
/** The column after those of the workgroup. */
var<workgroup> last_column: array<vec4f, STEP / 4u>;
var<workgroup> parts: array<f32, INVOCATIONS>;

/** The column of a workgroup that is element `i` of a four. Lanes beside each other write what lies together. */
fn column_of(four: u32, i: u32) -> u32 {
#if result_fours
  return 4u * four + i;
#else
  return four + FOURS * i;
#endif
}

fn a_at(row: u32, x: u32) -> vec4f {
#if a_fours
  if (x >= params.inner) { return vec4f(); }
  return a[(row * params.a_stride + x) / 4u];
#else
  var value = vec4f();
  for (var i = 0u; i < 4u; i++) {
    if (x + i < params.inner) { value[i] = a[row * params.a_stride + x + i]; }
  }
  return value;
#endif
}

fn is_kept(row: u32) -> bool {
#if keeps
  // A hidden key has no gradient, whatever its queries hold.
  return flags[(row + 1u) * params.flag_stride - 1u] != 0.0;
#else
  return true;
#endif
}

#if result_fours
#else
fn store(row: u32, column: u32, value: f32) {
  result[row * params.result_stride + column] = select(0.0, value, is_kept(row));
}
#endif

/** Products in the order of the elements, whatever an engine does with a matrix. */
fn with_products(sum: vec4f, row: vec4f, p_rows: mat4x4f) -> vec4f {
  var made = sum;
  made += row.x * p_rows[0];
  made += row.y * p_rows[1];
  made += row.z * p_rows[2];
  made += row.w * p_rows[3];
  return made;
}

@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let t = local.y * INVOCATIONS_X + local.x;
  let first_row = params.first_row + group.x * ROWS;
  let first_column = group.y * COLUMNS;
  let has_last = first_column + COLUMNS + 1u == params.columns;
  let rows_at = group.z * params.row_length;
  let p_at = group.z / params.row_heads * params.sums_size;
  // P by columns is read along them.
  let is_turned = params.p_row == 1u;

  var sums: array<vec4f, 4>;
  var last = 0.0;
  for (var x0 = 0u; x0 < params.inner; x0 += STEP) {
    for (var at = t; at < ROWS * STEP / 4u; at += INVOCATIONS) {
      let row = at / (STEP / 4u);
      let four = at % (STEP / 4u);
      var value = vec4f();
      if (first_row + row < params.end_row) { value = a_at(rows_at + first_row + row, x0 + 4u * four); }
      left[row * LEFT_STRIDE + four] = value;
    }
    // As many fours as invocations.
    let x = select(t / FOURS, t % STEP, is_turned);
    let four = select(t % FOURS, t / STEP, is_turned);
    var value = vec4f();
    if (x0 + x < params.inner) {
      for (var i = 0u; i < 4u; i++) {
        let column = first_column + column_of(four, i);
        if (column < params.columns) { value[i] = p[p_at + (x0 + x) * params.p_row + column * params.p_column]; }
      }
    }
    right[x * RIGHT_STRIDE + four] = value;
    if (has_last && t < STEP / 4u) {
      var values = vec4f();
      for (var i = 0u; i < 4u; i++) {
        let x = x0 + 4u * t + i;
        if (x < params.inner) { values[i] = p[p_at + x * params.p_row + (params.columns - 1u) * params.p_column]; }
      }
      last_column[t] = values;
    }
    workgroupBarrier();
    let fours = min(STEP, params.inner - x0 + 3u) / 4u;
    for (var four = 0u; four < fours; four++) {
      let at = local.y * LEFT_STRIDE + four;
      let p_of = 4u * four * RIGHT_STRIDE + local.x;
      let p_rows = mat4x4f(
        right[p_of],
        right[p_of + RIGHT_STRIDE],
        right[p_of + 2u * RIGHT_STRIDE],
        right[p_of + 3u * RIGHT_STRIDE],
      );
      sums[0] = with_products(sums[0], left[at], p_rows);
      sums[1] = with_products(sums[1], left[at + INVOCATIONS_Y * LEFT_STRIDE], p_rows);
      sums[2] = with_products(sums[2], left[at + 2u * INVOCATIONS_Y * LEFT_STRIDE], p_rows);
      sums[3] = with_products(sums[3], left[at + 3u * INVOCATIONS_Y * LEFT_STRIDE], p_rows);
    }
    if (has_last) {
      let at = t % ROWS * LEFT_STRIDE;
      let first = t / ROWS * (STEP / 4u / PARTS);
      for (var four = first; four < first + STEP / 4u / PARTS; four++) {
        last += dot(left[at + four], last_column[four]);
      }
    }
    workgroupBarrier();
  }

#if result_fours
#else
  if (has_last) {
    parts[t] = last;
    workgroupBarrier();
    let row = first_row + t;
    if (t < ROWS && row < params.end_row) {
      var value = 0.0;
      for (var part = 0u; part < PARTS; part++) { value += parts[t + part * ROWS]; }
      store(rows_at + row, params.columns - 1u, value);
    }
  }
#endif
  for (var i = 0u; i < 4u; i++) {
    let row = first_row + local.y + INVOCATIONS_Y * i;
    if (row >= params.end_row) { return; }
#if result_fours
    let column = first_column + 4u * local.x;
    if (column >= params.columns) { return; }
    result[((rows_at + row) * params.result_stride + column) / 4u] = select(vec4f(), sums[i], is_kept(rows_at + row));
#else
    for (var c = 0u; c < 4u; c++) {
      let column = first_column + column_of(local.x, c);
      if (column < params.columns) { store(rows_at + row, column, sums[i][c]); }
    }
#endif
  }
}
