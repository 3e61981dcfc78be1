struct Params { rows: u32, width: u32, k: u32, x_base: u32, values_base: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> indices: array<i32>;
const INVOCATIONS = 256u;

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}
fn load_x(at: u32) -> u32 { return x[at / 4u][at % 4u]; }
fn store_values(at: u32, bits: u32) { values[at] = bits; }

const MINUS_INF = 0xff800000u;
const MINUS_INF_KEY = 0x007fffffu;

fn keep(row: u32, slot: u32, bits: u32, j: u32) {
  store_values(params.values_base + row * params.k + slot, bits);
  indices[params.indices_base + row * params.k + slot] = i32(j);
}
/** Bins of the histogram that an invocation sums. */
const BINS_EACH = 256u / INVOCATIONS;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> scanned: array<u32, INVOCATIONS>;
/** The search so far: the keys above `threshold` are kept, and the first `quota` of those equal to it. */
var<workgroup> threshold: u32;
var<workgroup> quota: u32;
/** Keys that share the digits found so far, and whether all of them are kept, so that no more digits are needed. */
var<workgroup> sharing: u32;
var<workgroup> settled: u32;

/** Inclusive sums of `scanned`, in place. */
fn scan(local: u32) {
  workgroupBarrier();
  for (var step = 1u; step < INVOCATIONS; step <<= 1u) {
    let sum = scanned[local] + select(0u, scanned[max(local, step) - step], local >= step);
    workgroupBarrier();
    scanned[local] = sum;
    workgroupBarrier();
  }
}

fn begin_search(local: u32, k: u32) {
  if (local == 0u) {
    threshold = 0u;
    quota = k;
    settled = 0u;
  }
}

fn clear_histogram(local: u32) {
  for (var bin = local; bin < 256u; bin += INVOCATIONS) { atomicStore(&histogram[bin], 0u); }
  workgroupBarrier();
}

/** Takes the digit at `shift` from the histogram. Where fewer than k keys exist at all, the threshold stays 0. */
fn settle(local: u32, shift: u32) {
  workgroupBarrier();
  // Sums count from the largest digit down.
  var counts = array<u32, BINS_EACH>();
  var mine = 0u;
  for (var i = 0u; i < BINS_EACH; i++) {
    counts[i] = atomicLoad(&histogram[255u - local * BINS_EACH - i]);
    mine += counts[i];
  }
  scanned[local] = mine;
  scan(local);
  let wanted = quota;
  var reached = scanned[local] - mine;
  let found = threshold;
  if (shift == 24u && local == INVOCATIONS - 1u && reached + mine < wanted) { settled = 1u; }
  workgroupBarrier();
  for (var i = 0u; i < BINS_EACH; i++) {
    if (reached < wanted && reached + counts[i] >= wanted) {
      threshold = found | ((255u - local * BINS_EACH - i) << shift);
      quota = wanted - reached;
      sharing = counts[i];
      if (counts[i] == wanted - reached) { settled = 1u; }
    }
    reached += counts[i];
  }
  workgroupBarrier();
}

/** Every key that shares the digits found is kept: they lie above the key below the least of them. */
fn end_search(local: u32) {
  if (local == 0u && threshold > 0u && sharing == quota) {
    threshold -= 1u;
    quota = 0u;
  }
  workgroupBarrier();
}

fn fill_unused(row: u32, first: u32, local: u32) {
  for (var slot = first + local; slot < params.k; slot += INVOCATIONS) {
    store_values(params.values_base + row * params.k + slot, MINUS_INF);
    indices[params.indices_base + row * params.k + slot] = -1;
  }
}
fn select_by_scans(row: u32, start: u32, local: u32) {
  begin_search(local, params.k);
  if (params.k < params.width) {
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    for (var j = local; j < params.width; j += INVOCATIONS) {
      let key = key_of(load_x(start + j));
      if (key > MINUS_INF_KEY && true) { atomicAdd(&histogram[(key >> 24u) & 255u], 1u); }
    }
    settle(local, 24u);
  }
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    for (var j = local; j < params.width; j += INVOCATIONS) {
      let key = key_of(load_x(start + j));
      if (key > MINUS_INF_KEY && (key >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key >> 16u) & 255u], 1u); }
    }
    settle(local, 16u);
  }
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    for (var j = local; j < params.width; j += INVOCATIONS) {
      let key = key_of(load_x(start + j));
      if (key > MINUS_INF_KEY && (key >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key >> 8u) & 255u], 1u); }
    }
    settle(local, 8u);
  }
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    for (var j = local; j < params.width; j += INVOCATIONS) {
      let key = key_of(load_x(start + j));
      if (key > MINUS_INF_KEY && (key >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key >> 0u) & 255u], 1u); }
    }
    settle(local, 0u);
  }
  workgroupBarrier();
  end_search(local);
  }
  workgroupBarrier();
  let least = threshold;
  let allowed = quota;
  var above = 0u;
  var ties = 0u;
  for (var tile = 0u; tile < params.width; tile += 4u * INVOCATIONS) {
    let first = tile + 4u * local;
    var bits = vec4u();
    var is_above = vec4u();
    var is_tie = vec4u();
    for (var i = 0u; i < 4u; i++) {
      if (first + i < params.width) {
        bits[i] = load_x(start + first + i);
        let key = key_of(bits[i]);
        is_above[i] = select(0u, 1u, key > MINUS_INF_KEY && key > least);
        is_tie[i] = select(0u, 1u, key > MINUS_INF_KEY && key == least);
      }
    }
    let mine = is_above.x + is_above.y + is_above.z + is_above.w
      + ((is_tie.x + is_tie.y + is_tie.z + is_tie.w) << 16u);
    scanned[local] = mine;
    scan(local);
    let before = scanned[local] - mine;
    let total = scanned[INVOCATIONS - 1u];
    var kept_above = above + (before & 0xffffu);
    var kept_ties = ties + (before >> 16u);
    for (var i = 0u; i < 4u; i++) {
      if (is_above[i] == 1u || (is_tie[i] == 1u && kept_ties < allowed)) {
        keep(row, kept_above + min(kept_ties, allowed), bits[i], first + i);
      }
      kept_above += is_above[i];
      kept_ties += is_tie[i];
    }
    above += total & 0xffffu;
    ties += total >> 16u;
    workgroupBarrier();
  }
  fill_unused(row, above + min(ties, allowed), local);
}
fn four_keys(start: u32, j: u32) -> vec4u {
  if (j >= params.width) { return vec4u(); }
  let found = x[(start + j) / 4u];
  return vec4u(key_of(found.x), key_of(found.y), key_of(found.z), key_of(found.w));
}
const CAPACITY = 8u * INVOCATIONS;
var<workgroup> pool: array<atomic<u32>, 2048>;
var<workgroup> listed: atomic<u32>;
var<workgroup> listed_count: u32;

/** Sums of the bits set in the pool before those of each invocation, which has `each` words of it. */
fn scan_bits(local: u32, words: u32, each: u32) {
  var count = 0u;
  for (var i = 0u; i < each; i++) {
    let word = local * each + i;
    if (word < words) { count += countOneBits(atomicLoad(&pool[word])); }
  }
  scanned[local] = count;
  scan(local);
}

/** Bits set before bit j of the pool, after `scan_bits`. */
fn bits_before(j: u32, each: u32) -> u32 {
  let word = j / 32u;
  let owner = word / each;
  var count = select(0u, scanned[max(owner, 1u) - 1u], owner > 0u);
  for (var i = owner * each; i < word; i++) { count += countOneBits(atomicLoad(&pool[i])); }
  return count + countOneBits(atomicLoad(&pool[word]) & ((1u << (j % 32u)) - 1u));
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.x + workgroup.y * groups.x;
  if (row >= params.rows) { return; }
  let start = params.x_base + row * params.width;
  var key_0 = 0u; var at_0 = 0u; var key_1 = 0u; var at_1 = 0u; var key_2 = 0u; var at_2 = 0u; var key_3 = 0u; var at_3 = 0u; var key_4 = 0u; var at_4 = 0u; var key_5 = 0u; var at_5 = 0u; var key_6 = 0u; var at_6 = 0u; var key_7 = 0u; var at_7 = 0u;
  for (var tile = 4u * local; tile < params.width; tile += 1u * INVOCATIONS * 4u) {
    { let four = four_keys(start, tile + 0u * INVOCATIONS * 4u);
    key_0 = max(max(key_0, max(four.x, four.y)), max(four.z, four.w)); }
  }
  begin_search(local, params.k);
  if (local == 0u) { atomicStore(&listed, 0u); }
  workgroupBarrier();
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    if (key_0 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_0 >> 24u) & 255u], 1u); }
    settle(local, 24u);
  }
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    if (key_0 > MINUS_INF_KEY && (key_0 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_0 >> 16u) & 255u], 1u); }
    settle(local, 16u);
  }
  // The digits not looked for count as 0, which is a lower bound too.
  let bound = max(workgroupUniformLoad(&threshold), MINUS_INF_KEY + 1u);
  for (var tile = 4u * local; tile < params.width; tile += INVOCATIONS * 4u) {
    let four = four_keys(start, tile);
    if (max(max(four.x, four.y), max(four.z, four.w)) >= bound) {
      for (var i = 0u; i < 4u; i++) {
        if (four[i] >= bound) {
          let slot = atomicAdd(&listed, 1u);
          if (slot < CAPACITY) { atomicStore(&pool[slot], tile + i); }
        }
      }
    }
  }
  workgroupBarrier();
  if (local == 0u) { listed_count = atomicLoad(&listed); }
  let count = workgroupUniformLoad(&listed_count);
  if (count > CAPACITY) {
    select_by_scans(row, start, local);
    return;
  }
  key_0 = 0u;
  if (local + 0u * INVOCATIONS < count) {
    at_0 = atomicLoad(&pool[local + 0u * INVOCATIONS]);
    key_0 = key_of(load_x(start + at_0));
  }
  key_1 = 0u;
  if (local + 1u * INVOCATIONS < count) {
    at_1 = atomicLoad(&pool[local + 1u * INVOCATIONS]);
    key_1 = key_of(load_x(start + at_1));
  }
  key_2 = 0u;
  if (local + 2u * INVOCATIONS < count) {
    at_2 = atomicLoad(&pool[local + 2u * INVOCATIONS]);
    key_2 = key_of(load_x(start + at_2));
  }
  key_3 = 0u;
  if (local + 3u * INVOCATIONS < count) {
    at_3 = atomicLoad(&pool[local + 3u * INVOCATIONS]);
    key_3 = key_of(load_x(start + at_3));
  }
  key_4 = 0u;
  if (local + 4u * INVOCATIONS < count) {
    at_4 = atomicLoad(&pool[local + 4u * INVOCATIONS]);
    key_4 = key_of(load_x(start + at_4));
  }
  key_5 = 0u;
  if (local + 5u * INVOCATIONS < count) {
    at_5 = atomicLoad(&pool[local + 5u * INVOCATIONS]);
    key_5 = key_of(load_x(start + at_5));
  }
  key_6 = 0u;
  if (local + 6u * INVOCATIONS < count) {
    at_6 = atomicLoad(&pool[local + 6u * INVOCATIONS]);
    key_6 = key_of(load_x(start + at_6));
  }
  key_7 = 0u;
  if (local + 7u * INVOCATIONS < count) {
    at_7 = atomicLoad(&pool[local + 7u * INVOCATIONS]);
    key_7 = key_of(load_x(start + at_7));
  }
  begin_search(local, params.k);
  workgroupBarrier();
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    if (key_0 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_0 >> 24u) & 255u], 1u); }
    if (key_1 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_1 >> 24u) & 255u], 1u); }
    if (key_2 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_2 >> 24u) & 255u], 1u); }
    if (key_3 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_3 >> 24u) & 255u], 1u); }
    if (key_4 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_4 >> 24u) & 255u], 1u); }
    if (key_5 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_5 >> 24u) & 255u], 1u); }
    if (key_6 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_6 >> 24u) & 255u], 1u); }
    if (key_7 > MINUS_INF_KEY) { atomicAdd(&histogram[(key_7 >> 24u) & 255u], 1u); }
    settle(local, 24u);
  }
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    if (key_0 > MINUS_INF_KEY && (key_0 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_0 >> 16u) & 255u], 1u); }
    if (key_1 > MINUS_INF_KEY && (key_1 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_1 >> 16u) & 255u], 1u); }
    if (key_2 > MINUS_INF_KEY && (key_2 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_2 >> 16u) & 255u], 1u); }
    if (key_3 > MINUS_INF_KEY && (key_3 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_3 >> 16u) & 255u], 1u); }
    if (key_4 > MINUS_INF_KEY && (key_4 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_4 >> 16u) & 255u], 1u); }
    if (key_5 > MINUS_INF_KEY && (key_5 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_5 >> 16u) & 255u], 1u); }
    if (key_6 > MINUS_INF_KEY && (key_6 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_6 >> 16u) & 255u], 1u); }
    if (key_7 > MINUS_INF_KEY && (key_7 >> 24u) == (found >> 24u)) { atomicAdd(&histogram[(key_7 >> 16u) & 255u], 1u); }
    settle(local, 16u);
  }
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    if (key_0 > MINUS_INF_KEY && (key_0 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_0 >> 8u) & 255u], 1u); }
    if (key_1 > MINUS_INF_KEY && (key_1 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_1 >> 8u) & 255u], 1u); }
    if (key_2 > MINUS_INF_KEY && (key_2 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_2 >> 8u) & 255u], 1u); }
    if (key_3 > MINUS_INF_KEY && (key_3 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_3 >> 8u) & 255u], 1u); }
    if (key_4 > MINUS_INF_KEY && (key_4 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_4 >> 8u) & 255u], 1u); }
    if (key_5 > MINUS_INF_KEY && (key_5 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_5 >> 8u) & 255u], 1u); }
    if (key_6 > MINUS_INF_KEY && (key_6 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_6 >> 8u) & 255u], 1u); }
    if (key_7 > MINUS_INF_KEY && (key_7 >> 16u) == (found >> 16u)) { atomicAdd(&histogram[(key_7 >> 8u) & 255u], 1u); }
    settle(local, 8u);
  }
  if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    if (key_0 > MINUS_INF_KEY && (key_0 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_0 >> 0u) & 255u], 1u); }
    if (key_1 > MINUS_INF_KEY && (key_1 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_1 >> 0u) & 255u], 1u); }
    if (key_2 > MINUS_INF_KEY && (key_2 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_2 >> 0u) & 255u], 1u); }
    if (key_3 > MINUS_INF_KEY && (key_3 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_3 >> 0u) & 255u], 1u); }
    if (key_4 > MINUS_INF_KEY && (key_4 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_4 >> 0u) & 255u], 1u); }
    if (key_5 > MINUS_INF_KEY && (key_5 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_5 >> 0u) & 255u], 1u); }
    if (key_6 > MINUS_INF_KEY && (key_6 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_6 >> 0u) & 255u], 1u); }
    if (key_7 > MINUS_INF_KEY && (key_7 >> 8u) == (found >> 8u)) { atomicAdd(&histogram[(key_7 >> 0u) & 255u], 1u); }
    settle(local, 0u);
  }
  workgroupBarrier();
  end_search(local);
  let least = threshold;
  let allowed = quota;
  let words = (params.width + 31u) / 32u;
  let each = (words + INVOCATIONS - 1u) / INVOCATIONS;
  var kept_0 = key_0 > max(least, MINUS_INF_KEY); var kept_1 = key_1 > max(least, MINUS_INF_KEY); var kept_2 = key_2 > max(least, MINUS_INF_KEY); var kept_3 = key_3 > max(least, MINUS_INF_KEY); var kept_4 = key_4 > max(least, MINUS_INF_KEY); var kept_5 = key_5 > max(least, MINUS_INF_KEY); var kept_6 = key_6 > max(least, MINUS_INF_KEY); var kept_7 = key_7 > max(least, MINUS_INF_KEY);
  if (workgroupUniformLoad(&quota) > 0u && workgroupUniformLoad(&threshold) > 0u) {
    // More entries equal the threshold than are wanted: the first of them.
    workgroupBarrier();
  for (var word = local; word < words; word += INVOCATIONS) { atomicStore(&pool[word], 0u); }
  workgroupBarrier();
    if (key_0 == least) { atomicOr(&pool[at_0 / 32u], 1u << (at_0 % 32u)); }
  if (key_1 == least) { atomicOr(&pool[at_1 / 32u], 1u << (at_1 % 32u)); }
  if (key_2 == least) { atomicOr(&pool[at_2 / 32u], 1u << (at_2 % 32u)); }
  if (key_3 == least) { atomicOr(&pool[at_3 / 32u], 1u << (at_3 % 32u)); }
  if (key_4 == least) { atomicOr(&pool[at_4 / 32u], 1u << (at_4 % 32u)); }
  if (key_5 == least) { atomicOr(&pool[at_5 / 32u], 1u << (at_5 % 32u)); }
  if (key_6 == least) { atomicOr(&pool[at_6 / 32u], 1u << (at_6 % 32u)); }
  if (key_7 == least) { atomicOr(&pool[at_7 / 32u], 1u << (at_7 % 32u)); }
    workgroupBarrier();
    scan_bits(local, words, each);
    if (key_0 == least && bits_before(at_0, each) < allowed) { kept_0 = true; }
if (key_1 == least && bits_before(at_1, each) < allowed) { kept_1 = true; }
if (key_2 == least && bits_before(at_2, each) < allowed) { kept_2 = true; }
if (key_3 == least && bits_before(at_3, each) < allowed) { kept_3 = true; }
if (key_4 == least && bits_before(at_4, each) < allowed) { kept_4 = true; }
if (key_5 == least && bits_before(at_5, each) < allowed) { kept_5 = true; }
if (key_6 == least && bits_before(at_6, each) < allowed) { kept_6 = true; }
if (key_7 == least && bits_before(at_7, each) < allowed) { kept_7 = true; }
    workgroupBarrier();
  }
  workgroupBarrier();
  for (var word = local; word < words; word += INVOCATIONS) { atomicStore(&pool[word], 0u); }
  workgroupBarrier();
  if (kept_0) { atomicOr(&pool[at_0 / 32u], 1u << (at_0 % 32u)); }
  if (kept_1) { atomicOr(&pool[at_1 / 32u], 1u << (at_1 % 32u)); }
  if (kept_2) { atomicOr(&pool[at_2 / 32u], 1u << (at_2 % 32u)); }
  if (kept_3) { atomicOr(&pool[at_3 / 32u], 1u << (at_3 % 32u)); }
  if (kept_4) { atomicOr(&pool[at_4 / 32u], 1u << (at_4 % 32u)); }
  if (kept_5) { atomicOr(&pool[at_5 / 32u], 1u << (at_5 % 32u)); }
  if (kept_6) { atomicOr(&pool[at_6 / 32u], 1u << (at_6 % 32u)); }
  if (kept_7) { atomicOr(&pool[at_7 / 32u], 1u << (at_7 % 32u)); }
  workgroupBarrier();
  scan_bits(local, words, each);
  if (kept_0) { keep(row, bits_before(at_0, each), load_x(start + at_0), at_0); }
if (kept_1) { keep(row, bits_before(at_1, each), load_x(start + at_1), at_1); }
if (kept_2) { keep(row, bits_before(at_2, each), load_x(start + at_2), at_2); }
if (kept_3) { keep(row, bits_before(at_3, each), load_x(start + at_3), at_3); }
if (kept_4) { keep(row, bits_before(at_4, each), load_x(start + at_4), at_4); }
if (kept_5) { keep(row, bits_before(at_5, each), load_x(start + at_5), at_5); }
if (kept_6) { keep(row, bits_before(at_6, each), load_x(start + at_6), at_6); }
if (kept_7) { keep(row, bits_before(at_7, each), load_x(start + at_7), at_7); }
  fill_unused(row, scanned[INVOCATIONS - 1u], local);
}