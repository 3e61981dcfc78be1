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
#if is_spread
  return at ^ ((at >> 4u) & 15u);
#else
  return at;
#endif
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
