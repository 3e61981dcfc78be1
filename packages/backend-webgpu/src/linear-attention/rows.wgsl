const TILE = 32u;
const STEP = 16u;
const COLUMNS = ${columns}u;

// Fours from one entry to the next in workgroup memory: one more than needed, so that they begin in different banks.
const LEFT_STRIDE = 9u;
const OTHER_STRIDE = 5u;
const PAIR_STRIDE = 9u;
const OTHER = 16u * LEFT_STRIDE;

/**
 * Four rows of the tile by element of A, then rows of B by fours of elements; when their products are done, in their place
 * four rows of pairs by row of B.
 */
var<workgroup> held: array<vec4f, 304>;
var<workgroup> right: array<f32, ${right_size}>;

#if scaled
fn log_at(group: u32, position: i32) -> f32 { return logs[group * params.keys + u32(position)]; }

// The largest log scale before a position.
fn peak_at(group: u32, position: i32) -> f32 { return peaks[group * (params.keys + 1u) + u32(position)]; }
#endif

/** By half of the workgroup. */
fn load_left(rows_at: u32, tile_row: i32, x0: u32, t: u32) {
  if (t >= 128u) { return; }
  let x = x0 + t % STEP;
  let first = tile_row + i32(t / STEP * 4u);
  var value = vec4f();
  for (var i = 0u; i < 4u; i++) {
    let row = first + i32(i);
    if (row >= params.first_row && row < params.end_row && x < params.inner) {
      value[i] = a[(rows_at + u32(row)) * params.a_stride + x];
    }
  }
  held[t % STEP * LEFT_STRIDE + t / STEP] = value;
}

/** By the other half: rows of B from a position on. */
fn load_other(others_at: u32, start: i32, chunk_end: i32, x0: u32, t: u32) {
  if (t < 128u) { return; }
  let key = (t - 128u) / 4u;
  let place = start + i32(key);
  let index = place - params.other_offset;
  let first = x0 + 4u * (t % 4u);
  var value = vec4f();
  if (index >= 0 && u32(index) < params.other_length && place < chunk_end) {
    for (var i = 0u; i < 4u; i++) {
      if (first + i < params.inner) { value[i] = b[(others_at + u32(index)) * params.b_stride + first + i]; }
    }
  }
  held[OTHER + key * OTHER_STRIDE + t % 4u] = value;
}

fn left_of(y: u32, x: u32) -> vec4f { return held[x * LEFT_STRIDE + y]; }

@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let t = local.y * 32u + local.x;
  let first_column = group.y * COLUMNS;
  let matrix = group.z / params.row_heads;
  let rows_at = group.z * params.row_length;
  let position = params.first_position + i32(group.x * TILE);
  let tile_row = position - params.row_offset;
  let since = position - params.segment_start;
  let has_own = since >= 0;
  let chunk = select(0u, u32(since) / params.chunk, has_own);

  // Rows times the sums of other chunks.
  var sums: array<vec4f, ${tiles}>;
  let sums_at = (chunk * params.groups + matrix) * params.sums_size;
  for (var x0 = 0u; x0 < params.inner; x0 += STEP) {
    load_left(rows_at, tile_row, x0, t);
    for (var i = 0u; i < ${right_loads}u; i++) {
      let at = t + 256u * i;
      let x = x0 + at / COLUMNS;
      let column = first_column + at % COLUMNS;
      var value = 0.0;
      if (x < params.inner && column < params.columns) {
        value = p[sums_at + x * params.p_row + column * params.p_column];
      }
      right[at] = value;
    }
    workgroupBarrier();
    for (var x = 0u; x < STEP; x++) {
      let rows = left_of(local.y, x);
      for (var c = 0u; c < ${tiles}u; c++) { sums[c] += rows * right[x * COLUMNS + 32u * c + local.x]; }
    }
    workgroupBarrier();
  }

#if scaled
  if (has_own) {
    let start_at = params.segment_start + i32(chunk * params.chunk);
    let end_at = min(start_at + i32(params.chunk), params.segment_end);
    var factors = vec4f(0.0);
    for (var i = 0u; i < 4u; i++) {
      let place = position + i32(4u * local.y + i);
      if (place < end_at) {
        if (params.backwards != 0u) { factors[i] = exp(log_at(matrix, place) - peak_at(matrix, end_at)); }
        else { factors[i] = exp(peak_at(matrix, start_at) - peak_at(matrix, place + 1)); }
      }
    }
    for (var c = 0u; c < ${tiles}u; c++) { sums[c] *= factors; }
  }
#endif

  // Pairs within the chunk.
  if (has_own) {
    let chunk_start = params.segment_start + i32(chunk * params.chunk);
    let chunk_end = min(chunk_start + i32(params.chunk), params.segment_end);
    let from_position = select(chunk_start, position, params.backwards != 0u);
    let to_position = select(position + i32(TILE), chunk_end, params.backwards != 0u);
    for (var head = 0u; head < params.other_heads; head++) {
      let others_at = (matrix * params.other_heads + head) * params.other_length;
      for (var start = from_position; start < to_position; start += i32(TILE)) {
        var weights = vec4f(0.0);
        for (var x0 = 0u; x0 < params.inner; x0 += STEP) {
          load_left(rows_at, tile_row, x0, t);
          load_other(others_at, start, chunk_end, x0, t);
          workgroupBarrier();
          for (var four = 0u; four < STEP / 4u; four++) {
            let own = held[OTHER + local.x * OTHER_STRIDE + four];
            weights += left_of(local.y, 4u * four) * own.x;
            weights += left_of(local.y, 4u * four + 1u) * own.y;
            weights += left_of(local.y, 4u * four + 2u) * own.z;
            weights += left_of(local.y, 4u * four + 3u) * own.w;
          }
          workgroupBarrier();
        }
#if scaled
        for (var i = 0u; i < 4u; i++) {
          let row_place = position + i32(4u * local.y + i);
          let place = start + i32(local.x);
          var factor = 0.0;
          if (row_place < chunk_end && place < chunk_end) {
            if (params.backwards != 0u) { factor = exp(log_at(matrix, row_place) - peak_at(matrix, place + 1)); }
            else { factor = exp(log_at(matrix, place) - peak_at(matrix, row_place + 1)); }
          }
          weights[i] *= factor;
        }
#endif
        held[local.x * PAIR_STRIDE + local.y] = weights;
        // Only in the tile of the rows themselves is a pair not visible. It has no factor of 0: 0 times NaN is NaN.
        let is_partly = start == position;
        for (var part = 0u; part < 2u; part++) {
          for (var i = 0u; i < ${right_loads}u; i++) {
            let at = t + 256u * i;
            let place = start + i32(STEP * part + at / COLUMNS);
            let index = place - params.other_offset;
            let column = first_column + at % COLUMNS;
            var value = 0.0;
            if (index >= 0 && u32(index) < params.other_length && place < chunk_end && column < params.columns) {
              value = c_rows[(others_at + u32(index)) * params.c_stride + column];
            }
            right[at] = value;
          }
          workgroupBarrier();
          for (var s = 0u; s < STEP; s++) {
            let place = STEP * part + s;
            let factor = held[place * PAIR_STRIDE + local.y];
            let row = vec4u(4u * local.y) + vec4u(0u, 1u, 2u, 3u);
            let is_later = vec4u(place) > row;
            let is_earlier = vec4u(place) < row;
            let is_hidden = select(is_later, is_earlier, vec4<bool>(params.backwards != 0u));
            for (var c = 0u; c < ${tiles}u; c++) {
              let product = factor * right[s * COLUMNS + 32u * c + local.x];
              sums[c] += select(product, vec4f(0.0), is_hidden & vec4<bool>(is_partly));
            }
          }
          workgroupBarrier();
        }
      }
    }
  }

  for (var i = 0u; i < 4u; i++) {
    let row = tile_row + i32(4u * local.y + i);
    if (row < params.first_row || row >= params.end_row) { continue; }
    for (var c = 0u; c < ${tiles}u; c++) {
      let column = first_column + 32u * c + local.x;
      if (column >= params.columns) { continue; }
      var value = sums[c][i];
#if keeps
      // A hidden key has no gradient, whatever its queries hold.
      if (flags[(rows_at + u32(row)) * params.flag_stride + params.flag_stride - 1u] == 0.0) { value = 0.0; }
#endif
      result[(rows_at + u32(row)) * params.result_stride + column] = value;
    }
  }
}
