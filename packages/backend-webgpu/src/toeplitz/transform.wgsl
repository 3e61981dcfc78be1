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
