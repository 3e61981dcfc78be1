fn candidate(list_at: u32, i: u32) -> u32 {
  return ${candidate};
}

/** The bin of the needed-th largest value, how many lie in higher bins, how many in it. */
fn pick_bin(needed: u32, t: u32) -> vec3u {
  if (t < 16u) {
    var sum = 0u;
    for (var i = 0u; i < 16u; i++) { sum += atomicLoad(&histogram[16u * t + i]); }
    coarse[t] = sum;
  }
  workgroupBarrier();
  if (t == 0u) {
    var above = 0u;
    var block = 15u;
    while (block > 0u && above + coarse[block] < needed) { above += coarse[block]; block--; }
    var bin = 16u * block + 15u;
    while (bin > 16u * block && above + atomicLoad(&histogram[bin]) < needed) {
      above += atomicLoad(&histogram[bin]);
      bin--;
    }
    picked = vec3u(bin, above, atomicLoad(&histogram[bin]));
  }
  return workgroupUniformLoad(&picked);
}

/**
 * The needed-th largest among the ordered keys, or, for `ties`, among the complements of the indices whose ordered key
 * is `bar`; with the places that are left for its equals, and their number.
 */
fn find_largest(n: u32, list_at: u32, orders_at: u32, wanted: u32, ties: bool, bar: u32, t: u32) -> vec3u {
  var prefix = 0u;
  var needed = wanted;
  var equals = 0u;
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    for (var bin = t; bin < 256u; bin += INVOCATIONS) { atomicStore(&histogram[bin], 0u); }
    workgroupBarrier();
    for (var four = t; 4u * four < n; four += INVOCATIONS) {
      let of_four = orders[orders_at + four];
      ${count_digits}
    }
    workgroupBarrier();
    let bin = pick_bin(needed, t);
    prefix |= bin.x << shift;
    needed -= bin.y;
    equals = bin.z;
    workgroupBarrier();
  }
  return vec3u(prefix, needed, equals);
}

/** Leaves the k best of n candidates in `sort_keys`, ascending, and returns how many they are, and the lowest of their ordered keys; 0xffffffff kept ones for a NaN. */
fn select_row(row: Row, visible: u32, n: u32, list_at: u32, orders_at: u32, t: u32) -> vec3u {
  let query_at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * ${fours}u;
  for (var i = t; i < ${fours}u; i += INVOCATIONS) { query[i] = load_q(query_at + i); }
  if (t == 0u) {
    atomicStore(&valid_count, 0u);
    atomicStore(&nan_count, 0u);
    atomicStore(&kept_count, 0u);
    atomicStore(&lowest_kept, 0xffffffffu);
  }
  workgroupBarrier();
  let keys_at = params.k_base / 4u + key_head_of(row.local_head) * params.key_length * ${fours}u;
  var valid = 0u;
  var nans = 0u;
  for (var four = t; 4u * four < n; four += INVOCATIONS) {
    ${four_keys}
    ${four_products}
    var of_four = vec4u();
    ${order_four}
    orders[orders_at + four] = of_four;
  }
  if (valid > 0u) { atomicAdd(&valid_count, valid); }
  if (nans > 0u) { atomicAdd(&nan_count, nans); }
  ${orders_barrier}
  workgroupBarrier();
  if (t == 0u) { totals = vec2u(atomicLoad(&valid_count), atomicLoad(&nan_count)); }
  let counted = workgroupUniformLoad(&totals);
  if (counted.y > 0u) { return vec3u(0u, 0u, 1u); }
  let k = params.k;
  var bar = 1u;
  var last_tie = 0xffffffffu;
  if (counted.x > k) {
    let found = find_largest(n, list_at, orders_at, k, false, 0u, t);
    bar = found.x;
    if (found.y < found.z) { last_tie = ~find_largest(n, list_at, orders_at, found.y, true, bar, t).x; }
  }
  for (var four = t; 4u * four < n; four += INVOCATIONS) {
    let of_four = orders[orders_at + four];
    ${keep_four}
  }
  workgroupBarrier();
  if (t == 0u) { totals = vec2u(atomicLoad(&lowest_kept), 0u); }
  let lowest = workgroupUniformLoad(&totals).x;
  let kept = min(counted.x, k);
  sort_by_key(kept, t);
  return vec3u(kept, lowest, 0u);
}

/** Overwrites the row of the list: k indices ascending, then -1; the bits of their scores, then -inf; NaN rows -1, NaN. */
fn write_row(list_at: u32, kept: u32, has_nan: bool, t: u32) {
  for (var slot = t; slot < params.k; slot += INVOCATIONS) {
    let used = slot < kept;
    let at = min(slot, ${last_place}u);
    lists[list_at + slot] = select(0xffffffffu, sort_keys[at], used);
    let unused = select(MINUS_INF_BITS, NAN_BITS, has_nan);
    lists[list_at + params.k + slot] = select(unused, bits_of_key(sort_orders[at]), used);
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  ${body}
}
