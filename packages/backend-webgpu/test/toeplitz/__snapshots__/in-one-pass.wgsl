// toeplitz pass {"from":"columns","does":"product","to":"columns","turns":false}
struct Params { log_length: u32, log_total: u32, log_lanes: u32, rows: u32, series: u32, step: u32, first_series: u32, first_head: u32, first_sequence: u32, heads: u32, tokens: u32, columns: u32, pairs: u32, blocks: u32, x_base: u32, y_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> spectrum: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
const INVOCATIONS = 256u;
/** Complex numbers in workgroup memory: 16 KiB. */
const TILE = 2048u;
var<workgroup> tile: array<vec2f, TILE>;

fn times(a: vec2f, b: vec2f) -> vec2f { return vec2f(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
fn conjugate(a: vec2f) -> vec2f { return vec2f(a.x, -a.y); }
fn power_of_two(exponent: i32) -> f32 { return bitcast<f32>(u32(exponent + 127) << 23u); }

/**
 * exp(-2 pi i e / 2^log) for e below 2^log, within 1e-7: a device's own sine may be off by 2^-11, and by more beyond pi. The
 * nearest quarter of a turn is taken off exactly; Taylor series of sine and cosine do for the rest.
 */
fn turn(e: u32, log: u32) -> vec2f {
  let quarters = f32(e) * power_of_two(2 - i32(log));
  let nearest = floor(quarters + 0.5);
  let r = quarters - nearest;
  let square = r * r;
  let sine = r * (1.57079633 + square * (-0.64596410 + square * (0.079692626 +
    square * (-0.0046817541 + square * 0.00016044118))));
  let cosine = 1.0 + square * (-1.23370055 + square * (0.25366951 + square * (-0.020863481 +
    square * (0.00091926027 - square * 0.000025202042))));
  let quarter = u32(nearest);
  let turned = select(vec2f(cosine, -sine), vec2f(-sine, -cosine), (quarter & 1u) != 0u);
  return select(turned, -turned, (quarter & 2u) != 0u);
}

/** The frequency at place t after `forward`: its digits of base 4 in reverse, the last of base 2 if the logarithm is odd. */
fn frequency(t: u32) -> u32 {
  var made = 0u;
  var weight = 0u;
  var log_block = params.log_length;
  for (; log_block >= 2u; log_block -= 2u) {
    made |= ((t >> (log_block - 2u)) & 3u) << weight;
    weight += 2u;
  }
  if (log_block == 1u) { made |= (t & 1u) << weight; }
  return made;
}

/**
 * Transforms in place of as many numbers as 2^log_length, one for each of 2^log_lanes lanes, which are the fastest axis of
 * the tile from `begin` on. Frequencies come out in the order of `frequency`, as `inverse` takes them: nothing is moved.
 */
fn forward(begin: u32, local: u32) {
  let first = local >> params.log_lanes;
  let rows = INVOCATIONS >> params.log_lanes;
  let lane = begin + (local & ((1u << params.log_lanes) - 1u));
  var log_block = params.log_length;
  for (; log_block >= 2u; log_block -= 2u) {
    let log_part = log_block - 2u;
    let part = 1u << (log_part + params.log_lanes);
    for (var i = first; i < (1u << (params.log_length - 2u)); i += rows) {
      let j = i & ((1u << log_part) - 1u);
      let at = lane + ((((i >> log_part) << log_block) + j) << params.log_lanes);
      let a = tile[at];
      let b = tile[at + part];
      let c = tile[at + 2u * part];
      let d = tile[at + 3u * part];
      let once = turn(j, log_block);
      let twice = times(once, once);
      let even = a + c;
      let odd = b + d;
      let left = a - c;
      let right = vec2f(b.y - d.y, d.x - b.x);
      tile[at] = even + odd;
      tile[at + part] = times(left + right, once);
      tile[at + 2u * part] = times(even - odd, twice);
      tile[at + 3u * part] = times(left - right, times(twice, once));
    }
    workgroupBarrier();
  }
  if (log_block == 1u) { pairs(lane, first, rows); }
}

/** The inverse of `forward`, times 2^log_length. */
fn inverse(begin: u32, local: u32) {
  let first = local >> params.log_lanes;
  let rows = INVOCATIONS >> params.log_lanes;
  let lane = begin + (local & ((1u << params.log_lanes) - 1u));
  if ((params.log_length & 1u) == 1u) { pairs(lane, first, rows); }
  for (var log_block = 2u + (params.log_length & 1u); log_block <= params.log_length; log_block += 2u) {
    let log_part = log_block - 2u;
    let part = 1u << (log_part + params.log_lanes);
    for (var i = first; i < (1u << (params.log_length - 2u)); i += rows) {
      let j = i & ((1u << log_part) - 1u);
      let at = lane + ((((i >> log_part) << log_block) + j) << params.log_lanes);
      let once = conjugate(turn(j, log_block));
      let twice = times(once, once);
      let a = tile[at];
      let b = times(tile[at + part], once);
      let c = times(tile[at + 2u * part], twice);
      let d = times(tile[at + 3u * part], times(twice, once));
      let even = a + c;
      let odd = b + d;
      let left = a - c;
      let right = vec2f(d.y - b.y, b.x - d.x);
      tile[at] = even + odd;
      tile[at + part] = left + right;
      tile[at + 2u * part] = even - odd;
      tile[at + 3u * part] = left - right;
    }
    workgroupBarrier();
  }
}

/** Sums and differences of neighbours. */
fn pairs(lane: u32, first: u32, rows: u32) {
  for (var i = first; i < (1u << (params.log_length - 1u)); i += rows) {
    let at = lane + ((2u * i) << params.log_lanes);
    let a = tile[at];
    let b = tile[at + (1u << params.log_lanes)];
    tile[at] = a + b;
    tile[at + (1u << params.log_lanes)] = a - b;
  }
  workgroupBarrier();
}
/** Where a lane of the tile is. Sizes are those of `params`. */
struct Lane {
  is_inside: bool,
  /** Of its first number among the parts, and from one number to the next. */
  at: u32,
  stride: u32,
  /** Position in the sequence of the first number, and from one to the next. */
  position: u32,
  /** What is turned: the position within a row. */
  offset: u32,
  /** Of the first of two columns, at token 0, in what is bound of the tensors. */
  column: u32,
  has_second: bool,
}

/** Of so many series of each head. Workgroups in y are rows, or else lanes of all rows follow each other. */
fn lane_of(group: vec3u, local: u32, count: u32) -> Lane {
  let q = (group.x << params.log_lanes) + (local & ((1u << params.log_lanes) - 1u));
  let stride = params.step * count;
  let row = group.y + q / stride;
  let in_row = q % stride;
  let offset = in_row / count;
  let series = params.first_series + in_row % count;
  let pair = series % params.pairs;
  let sequence = (series / params.pairs) * params.heads + params.first_head + group.z - params.first_sequence;
  return Lane(
    q < stride * params.rows,
    (group.z << params.log_total) * count + row * (stride << params.log_length) + in_row,
    stride,
    (row << params.log_length) + offset,
    offset,
    sequence * params.tokens * params.columns + 2u * pair,
    2u * pair + 1u < params.columns,
  );
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let is_kernel = false;
  let lane = lane_of(group, local, params.series);
  let first = local >> params.log_lanes;
  let rows = INVOCATIONS >> params.log_lanes;
  let length = 1u << params.log_length;
  let in_tile = local & ((1u << params.log_lanes) - 1u);

  for (var t = first; t < length; t += rows) {
    var value = vec2f();
    let position = lane.position + t * params.step;
    if (lane.is_inside) {
      if (!is_kernel && position < params.tokens) {
        let at = params.x_base + lane.column + position * params.columns;
        value.x = x[at];
        if (lane.has_second) { value.y = x[at + 1u]; }
      }
    }
    tile[(t << params.log_lanes) + in_tile] = value;
  }
  workgroupBarrier();

  forward(0u, local);
  for (var t = first; t < length; t += rows) {
    let at = (t << params.log_lanes) + in_tile;
    if (lane.is_inside) {
      let place = (group.z << params.log_total) + lane.position + t;
      tile[at] = times(tile[at], spectrum[place]);
    }
  }
  workgroupBarrier();
  inverse(0u, local);

  if (!lane.is_inside) { return; }
  for (var t = first; t < length; t += rows) {
    var value = tile[(t << params.log_lanes) + in_tile];
    let position = lane.position + t * params.step;
    if (position < params.tokens) {
      let at = params.y_base + lane.column + position * params.columns;
      value *= power_of_two(-i32(params.log_total));
      y[at] = value.x;
      if (lane.has_second) { y[at + 1u] = value.y; }
    }
  }
}
