const NAN_ROW = 0xffffffffu;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> sums: array<vec2u, 2u * INVOCATIONS>;
var<workgroup> has_nan: atomic<u32>;
/** The digit of the k-th key, how many keys have a larger one, how many there are, whether one is NaN. */
var<workgroup> chosen: vec4u;

/** Sums over the invocations up to and with this one. */
fn inclusive_sum(t: u32, value: vec2u) -> vec2u {
  var sum = value;
  var side = 0u;
  sums[t] = sum;
  workgroupBarrier();
  for (var reach = 1u; reach < INVOCATIONS; reach *= 2u) {
    if (t >= reach) { sum += sums[side + t - reach]; }
    side = INVOCATIONS - side;
    sums[side + t] = sum;
    workgroupBarrier();
  }
  return sum;
}

/** Counts the digit at `shift` of all keys that begin with `prefix` and finds the one with the `wanted`-th largest. */
fn choose_digit(t: u32, start: u32, visible: u32, shift: u32, prefix: u32, wanted: u32) -> vec4u {
  atomicStore(&histogram[t], 0u);
  if (t == 0u) { atomicStore(&has_nan, 0u); }
  workgroupBarrier();
  for (var j = t; j < visible; j += INVOCATIONS) {
    let bits = score_bits(start + j);
    if ((bits & 0x7fffffffu) > 0x7f800000u) { atomicOr(&has_nan, 1u); }
    let key = key_of(bits);
    // In two steps: a shift by 32 is none.
    if (bits != MINUS_INF_BITS && (((key ^ prefix) >> shift) >> 8u) == 0u) {
      atomicAdd(&histogram[(key >> shift) & 255u], 1u);
    }
  }
  workgroupBarrier();
  let digit = 255u - t;
  let count = atomicLoad(&histogram[digit]);
  let reached = inclusive_sum(t, vec2u(count, 0u)).x;
  if (t == 255u) { chosen = vec4u(0u, 0u, reached, atomicLoad(&has_nan)); }
  workgroupBarrier();
  if (reached >= wanted && reached - count < wanted) {
    chosen.x = digit;
    chosen.y = reached - count;
  }
  return workgroupUniformLoad(&chosen);
}

fn select_row(t: u32, start: u32, visible: u32, k: u32) -> u32 {
  let first = choose_digit(t, start, visible, 24u, 0u, k);
  if (first.w != 0u) { return NAN_ROW; }
  // Everything valid is kept when there is no more than k of it: no valid key has the key 0.
  var threshold = 0u;
  var ties = 0u;
  if (first.z > k) {
    threshold = first.x << 24u;
    ties = k - first.y;
    for (var shift = 16i; shift >= 0i; shift -= 8i) {
      let next = choose_digit(t, start, visible, u32(shift), threshold, ties);
      threshold |= next.x << u32(shift);
      ties -= next.y;
    }
  }
  // Every invocation writes the kept keys of a run of keys, behind those of the runs before it.
  let run = (visible + (INVOCATIONS - 1u)) / INVOCATIONS;
  let begin = min(t * run, visible);
  let end = min(begin + run, visible);
  var above = 0u;
  var equal = 0u;
  for (var j = begin; j < end; j++) {
    let bits = score_bits(start + j);
    if (bits == MINUS_INF_BITS) { continue; }
    let key = key_of(bits);
    if (key > threshold) { above++; } else if (key == threshold) { equal++; }
  }
  let sum = inclusive_sum(t, vec2u(above, equal));
  let equal_before = sum.y - equal;
  var equal_left = max(ties, equal_before) - equal_before;
  var slot = sum.x - above + min(ties, equal_before);
  for (var j = begin; j < end; j++) {
    let bits = score_bits(start + j);
    if (bits == MINUS_INF_BITS) { continue; }
    let key = key_of(bits);
    if (key < threshold || (key == threshold && equal_left == 0u)) { continue; }
    if (key == threshold) { equal_left--; }
    keep(slot, j, bits);
    slot++;
  }
  return min(first.z, k);
}
