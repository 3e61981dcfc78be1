// toeplitz gradients {"from":"parts","log":7}
struct Params { log_length: u32, log_total: u32, log_lanes: u32, rows: u32, series: u32, step: u32, first_series: u32, first_head: u32, first_sequence: u32, heads: u32, tokens: u32, columns: u32, pairs: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x_parts: array<vec2f>;
@group(0) @binding(2) var<storage, read> spectrum: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> parts: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> correlations: array<vec2f>;
const INVOCATIONS = 256u;
/** Complex numbers in workgroup memory: 16 KiB. */
const TILE = 2048u;
var<workgroup> tile: array<vec2f, TILE>;

/** What an invocation holds of a series. */
alias Numbers = array<vec2f, 8>;

fn times(a: vec2f, b: vec2f) -> vec2f { return vec2f(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
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

/** Times exp(-i pi / 2) and exp(-i pi / 4). */
fn quarter_turn(a: vec2f) -> vec2f { return vec2f(a.y, -a.x); }
fn eighth_turn(a: vec2f) -> vec2f { return vec2f(a.x + a.y, a.y - a.x) * 0.70710678; }

struct Four { a: vec2f, b: vec2f, c: vec2f, d: vec2f }

/** The transform of four numbers. */
fn four(a: vec2f, b: vec2f, c: vec2f, d: vec2f) -> Four {
  let even = a + c;
  let odd = b + d;
  let left = a - c;
  let right = quarter_turn(b - d);
  return Four(even + odd, left + right, even - odd, left - right);
}

/** Transforms of two, four or eight of the numbers, as far apart as can be. Frequencies take the places of the numbers. */
fn halves(v: ptr<function, Numbers>) {
  let n = *v;
  *v = Numbers(
    n[0] + n[4], n[1] + n[5], n[2] + n[6], n[3] + n[7], n[0] - n[4], n[1] - n[5], n[2] - n[6], n[3] - n[7],
  );
}
fn fours(v: ptr<function, Numbers>) {
  let n = *v;
  let even = four(n[0], n[2], n[4], n[6]);
  let odd = four(n[1], n[3], n[5], n[7]);
  *v = Numbers(even.a, odd.a, even.b, odd.b, even.c, odd.c, even.d, odd.d);
}
fn eights(v: ptr<function, Numbers>) {
  let n = *v;
  let even = four(n[0] + n[4], n[1] + n[5], n[2] + n[6], n[3] + n[7]);
  let odd = four(
    n[0] - n[4],
    eighth_turn(n[1] - n[5]),
    quarter_turn(n[2] - n[6]),
    eighth_turn(quarter_turn(n[3] - n[7])),
  );
  *v = Numbers(even.a, odd.a, even.b, odd.b, even.c, odd.c, even.d, odd.d);
}

/** What turns frequencies between these transforms and those of the parts of a block, at place j of the parts. */
fn turn_halves(v: ptr<function, Numbers>, j: u32, log_block: u32) {
  let once = turn(j, log_block);
  (*v)[4] = times((*v)[4], once);
  (*v)[5] = times((*v)[5], eighth_turn(once));
  (*v)[6] = times((*v)[6], quarter_turn(once));
  (*v)[7] = times((*v)[7], eighth_turn(quarter_turn(once)));
}
fn turn_fours(v: ptr<function, Numbers>, j: u32, log_block: u32) {
  let once = turn(j, log_block);
  let twice = times(once, once);
  (*v)[2] = times((*v)[2], once);
  (*v)[4] = times((*v)[4], twice);
  (*v)[6] = times((*v)[6], times(twice, once));
  // Of those an eighth of the block further.
  let next = eighth_turn(once);
  let next_twice = quarter_turn(twice);
  (*v)[3] = times((*v)[3], next);
  (*v)[5] = times((*v)[5], next_twice);
  (*v)[7] = times((*v)[7], times(next_twice, next));
}
fn turn_eights(v: ptr<function, Numbers>, j: u32, log_block: u32) {
  turn_powers(v, turn(j, log_block), turn(4u * j, log_block));
}

/** Each number times that power of `once`; its fourth is given for the sake of digits. */
fn turn_powers(v: ptr<function, Numbers>, once: vec2f, fourth: vec2f) {
  let twice = times(once, once);
  let thrice = times(twice, once);
  (*v)[1] = times((*v)[1], once);
  (*v)[2] = times((*v)[2], twice);
  (*v)[3] = times((*v)[3], thrice);
  (*v)[4] = times((*v)[4], fourth);
  (*v)[5] = times((*v)[5], times(fourth, once));
  (*v)[6] = times((*v)[6], times(fourth, twice));
  (*v)[7] = times((*v)[7], times(fourth, thrice));
}

/** Real and imaginary parts in each other's place, with which a transform is the inverse. */
fn swap(v: ptr<function, Numbers>) {
  let n = *v;
  *v = Numbers(n[0].yx, n[1].yx, n[2].yx, n[3].yx, n[4].yx, n[5].yx, n[6].yx, n[7].yx);
}

/** Where a number is in the tile. Numbers 2^k apart are not to be in one bank, where lanes are few. */
fn slot(at: u32) -> u32 {
  return at;
}

/** Of blocks of 2^log_block, the first number of invocation i; the others follow an eighth of the block apart. */
fn place(i: u32, log_block: u32) -> u32 {
  let log_part = log_block - 3u;
  return ((i >> log_part) << log_block) + (i & ((1u << log_part) - 1u));
}

fn put(v: ptr<function, Numbers>, begin: u32, i: u32, log_block: u32) {
  let at = begin + (place(i, log_block) << params.log_lanes);
  let step = 1u << (log_block - 3u + params.log_lanes);
  tile[slot(at)] = (*v)[0];
  tile[slot(at + step)] = (*v)[1];
  tile[slot(at + 2u * step)] = (*v)[2];
  tile[slot(at + 3u * step)] = (*v)[3];
  tile[slot(at + 4u * step)] = (*v)[4];
  tile[slot(at + 5u * step)] = (*v)[5];
  tile[slot(at + 6u * step)] = (*v)[6];
  tile[slot(at + 7u * step)] = (*v)[7];
}

fn take(v: ptr<function, Numbers>, begin: u32, i: u32, log_block: u32) {
  let at = begin + (place(i, log_block) << params.log_lanes);
  let step = 1u << (log_block - 3u + params.log_lanes);
  *v = Numbers(
    tile[slot(at)],
    tile[slot(at + step)],
    tile[slot(at + 2u * step)],
    tile[slot(at + 3u * step)],
    tile[slot(at + 4u * step)],
    tile[slot(at + 5u * step)],
    tile[slot(at + 6u * step)],
    tile[slot(at + 7u * step)],
  );
}
/** The frequency at place t after `forward`. */
fn frequency(t: u32) -> u32 { return (((t >> 6u) & 1u) << 0u) | (((t >> 3u) & 7u) << 1u) | (((t >> 0u) & 7u) << 4u); }
/** Turns what `forward` leaves by the frequencies times the offset, of the whole circle. */
fn turn_frequencies(v: ptr<function, Numbers>, offset: u32, i: u32) {
  turn_powers(v, turn(offset << 4u, params.log_total), turn(offset << 6u, params.log_total));
  let first = turn(offset * frequency(8u * i), params.log_total);
  (*v)[0] = times((*v)[0], first);
  (*v)[1] = times((*v)[1], first);
  (*v)[2] = times((*v)[2], first);
  (*v)[3] = times((*v)[3], first);
  (*v)[4] = times((*v)[4], first);
  (*v)[5] = times((*v)[5], first);
  (*v)[6] = times((*v)[6], first);
  (*v)[7] = times((*v)[7], first);
}
fn forward(v: ptr<function, Numbers>, begin: u32, i: u32, works: bool) {
  if (works) { halves(v); turn_halves(v, i & 15u, 7u); put(v, begin, i, 7u); }
  workgroupBarrier();
  if (works) { take(v, begin, i, 6u); eights(v); turn_eights(v, i & 7u, 6u); put(v, begin, i, 6u); }
  workgroupBarrier();
  if (works) { take(v, begin, i, 3u); eights(v); }
}
fn inverse(v: ptr<function, Numbers>, begin: u32, i: u32, works: bool) {
  swap(v);
  if (works) { eights(v); put(v, begin, i, 3u); }
  workgroupBarrier();
  if (works) { take(v, begin, i, 6u); turn_eights(v, i & 7u, 6u); eights(v); put(v, begin, i, 6u); }
  workgroupBarrier();
  if (works) { take(v, begin, i, 7u); turn_halves(v, i & 15u, 7u); halves(v); }
  swap(v);
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
/** Of x, behind that of the output's gradient: the second half of the workgroup transforms it. */
const SECOND = TILE / 2u;

fn conjugate(a: vec2f) -> vec2f { return vec2f(a.x, -a.y); }

/** Number t of a series of the output's gradient, or of x. */
fn load(lane: Lane, is_second: bool, t: u32) -> vec2f {
  if (is_second) { return x_parts[lane.at + t * lane.stride]; }
  return parts[lane.at + t * lane.stride];
}

/** Of the gradient of x. */
fn store(lane: Lane, t: u32, value: vec2f) {
  parts[lane.at + t * lane.stride] = value;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let is_second = local >= INVOCATIONS / 2u;
  let own = local % (INVOCATIONS / 2u);
  let lane = lane_of(group, own, params.series);
  let i = own >> params.log_lanes;
  let lanes = 1u << params.log_lanes;
  let begin = select(0u, SECOND, is_second) + (own & (lanes - 1u));
  let works = i < 16u;
  var v = Numbers();
  if (works && lane.is_inside) {
    v[0] = load(lane, is_second, i + 0u);
    v[1] = load(lane, is_second, i + 16u);
    v[2] = load(lane, is_second, i + 32u);
    v[3] = load(lane, is_second, i + 48u);
    v[4] = load(lane, is_second, i + 64u);
    v[5] = load(lane, is_second, i + 80u);
    v[6] = load(lane, is_second, i + 96u);
    v[7] = load(lane, is_second, i + 112u);
  }
  forward(&v, begin, i, works);
  if (works) {
    tile[slot(begin + ((8u * i + 0u) << params.log_lanes))] = v[0];
    tile[slot(begin + ((8u * i + 1u) << params.log_lanes))] = v[1];
    tile[slot(begin + ((8u * i + 2u) << params.log_lanes))] = v[2];
    tile[slot(begin + ((8u * i + 3u) << params.log_lanes))] = v[3];
    tile[slot(begin + ((8u * i + 4u) << params.log_lanes))] = v[4];
    tile[slot(begin + ((8u * i + 5u) << params.log_lanes))] = v[5];
    tile[slot(begin + ((8u * i + 6u) << params.log_lanes))] = v[6];
    tile[slot(begin + ((8u * i + 7u) << params.log_lanes))] = v[7];
  }
  workgroupBarrier();

  // Sums over the lanes, one invocation for each frequency. Each begins at a lane of its own: they are in banks of their own.
  for (var t = local; t < 128u; t += INVOCATIONS) {
    var sum = vec2f();
    for (var lane = 0u; lane < lanes; lane++) {
      let at = slot((t << params.log_lanes) + ((lane + t) & (lanes - 1u)));
      sum += times(conjugate(tile[at]), tile[SECOND + at]);
    }
    let block = group.z * groups.x + group.x;
    correlations[(block << params.log_total) + (group.y << 7u) + t] = sum;
  }
  workgroupBarrier();

  let is_kept = works && lane.is_inside && !is_second;
  if (is_kept) {
    let place = (group.z << params.log_total) + (group.y << 7u);
    // Transposed, distances change their sign: the spectrum of a real kernel is conjugated.
    v[0] = times(v[0], conjugate(spectrum[place + 8u * i + 0u]));
    v[1] = times(v[1], conjugate(spectrum[place + 8u * i + 1u]));
    v[2] = times(v[2], conjugate(spectrum[place + 8u * i + 2u]));
    v[3] = times(v[3], conjugate(spectrum[place + 8u * i + 3u]));
    v[4] = times(v[4], conjugate(spectrum[place + 8u * i + 4u]));
    v[5] = times(v[5], conjugate(spectrum[place + 8u * i + 5u]));
    v[6] = times(v[6], conjugate(spectrum[place + 8u * i + 6u]));
    v[7] = times(v[7], conjugate(spectrum[place + 8u * i + 7u]));
  }
  inverse(&v, begin, i, is_kept);
  if (is_kept) {
    store(lane, i + 0u, v[0]);
    store(lane, i + 16u, v[1]);
    store(lane, i + 32u, v[2]);
    store(lane, i + 48u, v[3]);
    store(lane, i + 64u, v[4]);
    store(lane, i + 80u, v[5]);
    store(lane, i + 96u, v[6]);
    store(lane, i + 112u, v[7]);
  }
}
