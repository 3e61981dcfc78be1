// linear-attention chunk sums {"features":64,"fours":true,"hides":false,"scaled":false}
struct Params { features: u32, columns: u32, heads: u32, length: u32, first: i32, end: i32, chunk: u32, groups: u32, tiles: u32, offset: i32, keys: u32, backwards: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
const INVOCATIONS_X = 8u;
const INVOCATIONS_Y = 16u;
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


/** The feature of a workgroup that is element `i` of a four. Lanes beside each other read, and write, what lies together. */
fn feature_of(four: u32, i: u32) -> u32 {
  return 4u * four + i;
}

/** Likewise the column. */
fn column_of(four: u32, i: u32) -> u32 { return four + INVOCATIONS_X * i; }

fn x_at(row: u32, first_feature: u32, four: u32) -> vec4f {
  let feature = first_feature + feature_of(four, 0u);
  if (feature >= params.features) { return vec4f(); }
  return x[(row * params.features + feature) / 4u];
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

// linear-attention rows {"tiles":3,"keeps":false,"scaled":false}
struct Params { backwards: u32, groups: u32, row_heads: u32, row_length: u32, row_offset: i32, first_row: i32, end_row: i32, first_position: i32, segment_start: i32, segment_end: i32, chunk: u32, other_heads: u32, other_length: u32, other_offset: i32, inner: u32, columns: u32, a_stride: u32, b_stride: u32, c_stride: u32, sums_size: u32, p_row: u32, p_column: u32, result_stride: u32, flag_stride: u32, keys: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> c_rows: array<f32>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;
const INVOCATIONS_X = 32u;
const INVOCATIONS_Y = 8u;
const TILE = 32u;
const STEP = 16u;
const COLUMNS = 96u;

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
var<workgroup> right: array<f32, 1536>;


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
  var sums: array<vec4f, 3>;
  let sums_at = (chunk * params.groups + matrix) * params.sums_size;
  for (var x0 = 0u; x0 < params.inner; x0 += STEP) {
    load_left(rows_at, tile_row, x0, t);
    for (var i = 0u; i < 6u; i++) {
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
      for (var c = 0u; c < 3u; c++) { sums[c] += rows * right[x * COLUMNS + 32u * c + local.x]; }
    }
    workgroupBarrier();
  }


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
        held[local.x * PAIR_STRIDE + local.y] = weights;
        // Only in the tile of the rows themselves is a pair not visible. It has no factor of 0: 0 times NaN is NaN.
        let is_partly = start == position;
        for (var part = 0u; part < 2u; part++) {
          for (var i = 0u; i < 6u; i++) {
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
            for (var c = 0u; c < 3u; c++) {
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
    for (var c = 0u; c < 3u; c++) {
      let column = first_column + 32u * c + local.x;
      if (column >= params.columns) { continue; }
      var value = sums[c][i];
      result[(rows_at + u32(row)) * params.result_stride + column] = value;
    }
  }
}

// linear-attention rows {"tiles":2,"keeps":false,"scaled":false}
struct Params { backwards: u32, groups: u32, row_heads: u32, row_length: u32, row_offset: i32, first_row: i32, end_row: i32, first_position: i32, segment_start: i32, segment_end: i32, chunk: u32, other_heads: u32, other_length: u32, other_offset: i32, inner: u32, columns: u32, a_stride: u32, b_stride: u32, c_stride: u32, sums_size: u32, p_row: u32, p_column: u32, result_stride: u32, flag_stride: u32, keys: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> c_rows: array<f32>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;
const INVOCATIONS_X = 32u;
const INVOCATIONS_Y = 8u;
const TILE = 32u;
const STEP = 16u;
const COLUMNS = 64u;

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
var<workgroup> right: array<f32, 1024>;


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
  var sums: array<vec4f, 2>;
  let sums_at = (chunk * params.groups + matrix) * params.sums_size;
  for (var x0 = 0u; x0 < params.inner; x0 += STEP) {
    load_left(rows_at, tile_row, x0, t);
    for (var i = 0u; i < 4u; i++) {
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
      for (var c = 0u; c < 2u; c++) { sums[c] += rows * right[x * COLUMNS + 32u * c + local.x]; }
    }
    workgroupBarrier();
  }


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
        held[local.x * PAIR_STRIDE + local.y] = weights;
        // Only in the tile of the rows themselves is a pair not visible. It has no factor of 0: 0 times NaN is NaN.
        let is_partly = start == position;
        for (var part = 0u; part < 2u; part++) {
          for (var i = 0u; i < 4u; i++) {
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
            for (var c = 0u; c < 2u; c++) {
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
    for (var c = 0u; c < 2u; c++) {
      let column = first_column + 32u * c + local.x;
      if (column >= params.columns) { continue; }
      var value = sums[c][i];
      result[(rows_at + u32(row)) * params.result_stride + column] = value;
    }
  }
}

// linear-attention rows {"tiles":2,"keeps":true,"scaled":false}
struct Params { backwards: u32, groups: u32, row_heads: u32, row_length: u32, row_offset: i32, first_row: i32, end_row: i32, first_position: i32, segment_start: i32, segment_end: i32, chunk: u32, other_heads: u32, other_length: u32, other_offset: i32, inner: u32, columns: u32, a_stride: u32, b_stride: u32, c_stride: u32, sums_size: u32, p_row: u32, p_column: u32, result_stride: u32, flag_stride: u32, keys: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> c_rows: array<f32>;
@group(0) @binding(5) var<storage, read> flags: array<f32>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
const INVOCATIONS_X = 32u;
const INVOCATIONS_Y = 8u;
const TILE = 32u;
const STEP = 16u;
const COLUMNS = 64u;

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
var<workgroup> right: array<f32, 1024>;


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
  var sums: array<vec4f, 2>;
  let sums_at = (chunk * params.groups + matrix) * params.sums_size;
  for (var x0 = 0u; x0 < params.inner; x0 += STEP) {
    load_left(rows_at, tile_row, x0, t);
    for (var i = 0u; i < 4u; i++) {
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
      for (var c = 0u; c < 2u; c++) { sums[c] += rows * right[x * COLUMNS + 32u * c + local.x]; }
    }
    workgroupBarrier();
  }


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
        held[local.x * PAIR_STRIDE + local.y] = weights;
        // Only in the tile of the rows themselves is a pair not visible. It has no factor of 0: 0 times NaN is NaN.
        let is_partly = start == position;
        for (var part = 0u; part < 2u; part++) {
          for (var i = 0u; i < 4u; i++) {
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
            for (var c = 0u; c < 2u; c++) {
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
    for (var c = 0u; c < 2u; c++) {
      let column = first_column + 32u * c + local.x;
      if (column >= params.columns) { continue; }
      var value = sums[c][i];
      // A hidden key has no gradient, whatever its queries hold.
      if (flags[(rows_at + u32(row)) * params.flag_stride + params.flag_stride - 1u] == 0.0) { value = 0.0; }
      result[(rows_at + u32(row)) * params.result_stride + column] = value;
    }
  }
}
