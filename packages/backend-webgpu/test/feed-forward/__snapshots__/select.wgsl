struct Params { tokens: u32, hidden: u32, k: u32, nan_bits: u32, preactivations_base: u32, indices_base: u32, weights_base: u32, kept_base: u32, counts_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> preactivations: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> indices: array<i32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> kept: array<f32>;
@group(0) @binding(5) var<storage, read_write> counts: array<u32>;
const INVOCATIONS = 256u;
/** Inclusive scan over 256 invocations: `scanned(value, t)`; the total is in `scan_cells[255]` afterwards. */
var<workgroup> scan_cells: array<u32, 512>;
fn scanned(value: u32, t: u32) -> u32 {
  var sum = value;
  var side = 0u;
  scan_cells[t] = sum;
  workgroupBarrier();
  for (var step = 1u; step < 256u; step *= 2u) {
    if (t >= step) { sum += scan_cells[side + t - step]; }
    side = 256u - side;
    scan_cells[side + t] = sum;
    workgroupBarrier();
  }
  return sum;
}

fn isNegative(x: f32) -> bool {
  let bits = bitcast<u32>(x);
  return bits >= 0x80000000u && bits <= 0xff800000u;
}
fn activated(x: f32) -> f32 { return select(x, 0.0, isNegative(x)); }
fn slope(x: f32) -> f32 { return select(1.0, 0.0, isNegative(x) || bitcast<u32>(x) == 0u); }
var<workgroup> bins: array<atomic<u32>, 2048>;
var<workgroup> above_bits: array<atomic<u32>, 256>;
var<workgroup> equal_bits: array<atomic<u32>, 256>;
var<workgroup> has_nan: atomic<u32>;
/** Digit found, entries still wanted from its bin, entries in its bin. */
var<workgroup> found: vec3u;

fn value_of(row: u32, unit: u32, s: f32) -> f32 {
  return activated(s);
}

/** Bits of neighbouring ranks; NaN beyond the row, where `key_of` is 0 and nobody looks for NaN. */
fn rank_bits(row: u32, unit: u32, end: u32) -> vec4u {
  if (unit >= end) { return vec4u(0xff800000u); }
  let s = preactivations[(params.preactivations_base + row * params.hidden + unit) / 4u];
  return bitcast<vec4u>(s);
}

/** Grows with the rank; -0 equals +0; 0 for NaN and -inf, which are never kept. */
fn key_of(bits: u32) -> u32 {
  let key = bits ^ (bitcast<u32>(bitcast<i32>(bits) >> 31u) | 0x80000000u);
  let is_valid = key - 0x00800000u <= 0xff000000u;
  return select(select(0u, key, is_valid), 0x80000000u, bits == 0x80000000u);
}

fn count_first(bits: u32) {
  let key = key_of(bits);
  if (key != 0u) { atomicAdd(&bins[key >> 21u], 1u); }
  else if (bits != 0xff800000u) { atomicOr(&has_nan, 1u); }
}

fn count_next(bits: u32, prefix_shift: u32, prefix: u32, shift: u32, digits: u32) {
  let key = key_of(bits);
  if ((key >> prefix_shift) == prefix && key != 0u) { atomicAdd(&bins[(key >> shift) & digits], 1u); }
}

/** Finds the bin of the k-th largest entry: the digit, how many of the bin are kept, how many it holds. */
fn search(t: u32, wanted: u32) -> vec3u {
  var counted = 0u;
  for (var i = 0u; i < 8u; i++) { counted += atomicLoad(&bins[2047u - 8u * t - i]); }
  let through = scanned(counted, t);
  if (t == 0u) { found = vec3u(0xffffffffu, 0u, 0u); }
  workgroupBarrier();
  var before = through - counted;
  if (before < wanted && wanted <= through) {
    for (var i = 0u; i < 8u; i++) {
      let bin = 2047u - 8u * t - i;
      let size = atomicLoad(&bins[bin]);
      if (before < wanted && wanted <= before + size) { found = vec3u(bin, wanted - before, size); }
      before += size;
    }
  }
  return workgroupUniformLoad(&found);
}

fn clear_bins(t: u32) {
  for (var i = t; i < 2048u; i += 256u) { atomicStore(&bins[i], 0u); }
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.tokens) { return; }
  if (t == 0u) { atomicStore(&has_nan, 0u); }

  // The k-th key: `least` is the smallest key kept in any case, `tied` keys of `equal` are kept, lower units first.
  var prefix = 0u;
  var wanted = params.k;
  var least = 1u;
  var equal = 0u;
  var tied = 0u;
  for (var pass_index = 0u; pass_index < 3u; pass_index++) {
    let shift = select(select(0u, 10u, pass_index == 1u), 21u, pass_index == 0u);
    let prefix_shift = select(10u, 21u, pass_index == 1u);
    let digits = select(0x7ffu, 0x3ffu, pass_index == 2u);
    clear_bins(t);
    workgroupBarrier();
    for (var first = 0u; first < params.hidden; first += 4096u) {
      let bits0 = rank_bits(row, first + 0u + 4u * t, params.hidden);
let bits1 = rank_bits(row, first + 1024u + 4u * t, params.hidden);
let bits2 = rank_bits(row, first + 2048u + 4u * t, params.hidden);
let bits3 = rank_bits(row, first + 3072u + 4u * t, params.hidden);
      if (pass_index == 0u) {
        count_first(bits0[0]); count_first(bits0[1]); count_first(bits0[2]); count_first(bits0[3]);
count_first(bits1[0]); count_first(bits1[1]); count_first(bits1[2]); count_first(bits1[3]);
count_first(bits2[0]); count_first(bits2[1]); count_first(bits2[2]); count_first(bits2[3]);
count_first(bits3[0]); count_first(bits3[1]); count_first(bits3[2]); count_first(bits3[3]);
      } else {
        count_next(bits0[0], prefix_shift, prefix, shift, digits); count_next(bits0[1], prefix_shift, prefix, shift, digits); count_next(bits0[2], prefix_shift, prefix, shift, digits); count_next(bits0[3], prefix_shift, prefix, shift, digits);
count_next(bits1[0], prefix_shift, prefix, shift, digits); count_next(bits1[1], prefix_shift, prefix, shift, digits); count_next(bits1[2], prefix_shift, prefix, shift, digits); count_next(bits1[3], prefix_shift, prefix, shift, digits);
count_next(bits2[0], prefix_shift, prefix, shift, digits); count_next(bits2[1], prefix_shift, prefix, shift, digits); count_next(bits2[2], prefix_shift, prefix, shift, digits); count_next(bits2[3], prefix_shift, prefix, shift, digits);
count_next(bits3[0], prefix_shift, prefix, shift, digits); count_next(bits3[1], prefix_shift, prefix, shift, digits); count_next(bits3[2], prefix_shift, prefix, shift, digits); count_next(bits3[3], prefix_shift, prefix, shift, digits);
      }
    }
    workgroupBarrier();
    let hit = search(t, wanted);
    if (hit.x == 0xffffffffu) { break; } // fewer than k valid units: all are kept
    prefix = (prefix << select(11u, 10u, pass_index == 2u)) | hit.x;
    wanted = hit.y;
    if (hit.y == hit.z) { // the whole bin
      least = max(prefix << shift, 1u);
      break;
    }
    if (pass_index == 2u) {
      least = prefix + 1u;
      equal = prefix;
      tied = wanted;
    }
  }
  let is_nan_row = atomicLoad(&has_nan) != 0u;
  let list = row * params.k;
  let nan = bitcast<f32>(params.nan_bits);

  // Kept units in ascending order.
  var written = 0u;
  var ties_before = 0u;
  for (var start = 0u; start < params.hidden; start += 8192u) {
    atomicStore(&above_bits[t], 0u);
    atomicStore(&equal_bits[t], 0u);
    workgroupBarrier();
    let end = min(start + 8192u, params.hidden);
    for (var first = start; first < end; first += 4096u) {
      let bits0 = rank_bits(row, first + 0u + 4u * t, end);
let bits1 = rank_bits(row, first + 1024u + 4u * t, end);
let bits2 = rank_bits(row, first + 2048u + 4u * t, end);
let bits3 = rank_bits(row, first + 3072u + 4u * t, end);
      {
        let key0_0 = key_of(bits0[0]); let key0_1 = key_of(bits0[1]); let key0_2 = key_of(bits0[2]); let key0_3 = key_of(bits0[3]);
        let at = first + 0u + 4u * t - start;
        let above = select(0u, 1u, key0_0 >= least) | select(0u, 2u, key0_1 >= least) | select(0u, 4u, key0_2 >= least) | select(0u, 8u, key0_3 >= least);
        if (above != 0u) { atomicOr(&above_bits[at >> 5u], above << (at & 31u)); }
        if (equal != 0u) {
          let equals = select(0u, 1u, key0_0 == equal) | select(0u, 2u, key0_1 == equal) | select(0u, 4u, key0_2 == equal) | select(0u, 8u, key0_3 == equal);
          if (equals != 0u) { atomicOr(&equal_bits[at >> 5u], equals << (at & 31u)); }
        }
      }
{
        let key1_0 = key_of(bits1[0]); let key1_1 = key_of(bits1[1]); let key1_2 = key_of(bits1[2]); let key1_3 = key_of(bits1[3]);
        let at = first + 1024u + 4u * t - start;
        let above = select(0u, 1u, key1_0 >= least) | select(0u, 2u, key1_1 >= least) | select(0u, 4u, key1_2 >= least) | select(0u, 8u, key1_3 >= least);
        if (above != 0u) { atomicOr(&above_bits[at >> 5u], above << (at & 31u)); }
        if (equal != 0u) {
          let equals = select(0u, 1u, key1_0 == equal) | select(0u, 2u, key1_1 == equal) | select(0u, 4u, key1_2 == equal) | select(0u, 8u, key1_3 == equal);
          if (equals != 0u) { atomicOr(&equal_bits[at >> 5u], equals << (at & 31u)); }
        }
      }
{
        let key2_0 = key_of(bits2[0]); let key2_1 = key_of(bits2[1]); let key2_2 = key_of(bits2[2]); let key2_3 = key_of(bits2[3]);
        let at = first + 2048u + 4u * t - start;
        let above = select(0u, 1u, key2_0 >= least) | select(0u, 2u, key2_1 >= least) | select(0u, 4u, key2_2 >= least) | select(0u, 8u, key2_3 >= least);
        if (above != 0u) { atomicOr(&above_bits[at >> 5u], above << (at & 31u)); }
        if (equal != 0u) {
          let equals = select(0u, 1u, key2_0 == equal) | select(0u, 2u, key2_1 == equal) | select(0u, 4u, key2_2 == equal) | select(0u, 8u, key2_3 == equal);
          if (equals != 0u) { atomicOr(&equal_bits[at >> 5u], equals << (at & 31u)); }
        }
      }
{
        let key3_0 = key_of(bits3[0]); let key3_1 = key_of(bits3[1]); let key3_2 = key_of(bits3[2]); let key3_3 = key_of(bits3[3]);
        let at = first + 3072u + 4u * t - start;
        let above = select(0u, 1u, key3_0 >= least) | select(0u, 2u, key3_1 >= least) | select(0u, 4u, key3_2 >= least) | select(0u, 8u, key3_3 >= least);
        if (above != 0u) { atomicOr(&above_bits[at >> 5u], above << (at & 31u)); }
        if (equal != 0u) {
          let equals = select(0u, 1u, key3_0 == equal) | select(0u, 2u, key3_1 == equal) | select(0u, 4u, key3_2 == equal) | select(0u, 8u, key3_3 == equal);
          if (equals != 0u) { atomicOr(&equal_bits[at >> 5u], equals << (at & 31u)); }
        }
      }
    }
    workgroupBarrier();
    var chosen = atomicLoad(&above_bits[t]);
    var equals = atomicLoad(&equal_bits[t]);
    let own = (countOneBits(chosen) << 16u) | countOneBits(equals);
    let through = scanned(own, t);
    let before = through - own;
    var rank = ties_before + (before & 0xffffu);
    var slot = written + (before >> 16u) + min(tied, rank) - min(tied, ties_before);
    while (equals != 0u && rank < tied) {
      let bit = equals & (~equals + 1u);
      chosen |= bit;
      equals ^= bit;
      rank++;
    }
    while (chosen != 0u) {
      let bit = firstTrailingBit(chosen);
      chosen &= chosen - 1u;
      let unit = start + 32u * t + bit;
      let s = preactivations[(params.preactivations_base + row * params.hidden + unit) / 4u][(params.preactivations_base + row * params.hidden + unit) % 4u];
      indices[params.indices_base + list + slot] = i32(unit);
      weights[params.weights_base + list + slot] = select(value_of(row, unit, s), nan, is_nan_row);
      kept[params.kept_base + list + slot] = select(s, nan, is_nan_row);
      slot++;
    }
    let all = scan_cells[255];
    written += (all >> 16u) + min(tied, ties_before + (all & 0xffffu)) - min(tied, ties_before);
    ties_before += all & 0xffffu;
    workgroupBarrier();
  }
  for (var slot = written + t; slot < params.k; slot += 256u) {
    indices[params.indices_base + list + slot] = -1;
    weights[params.weights_base + list + slot] = 0.0;
    kept[params.kept_base + list + slot] = select(0.0, nan, is_nan_row);
  }
  if (t == 0u) { counts[params.counts_base + row] = select(written, 0xffffffffu, is_nan_row); }
}