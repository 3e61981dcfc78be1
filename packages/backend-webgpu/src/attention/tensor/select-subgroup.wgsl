@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let r = group.x + group.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  if (row.query >= params.query_length) { return; }
  let visible = visible_of(row);
  let head = heads[r];
  let listed = min(head.x, ${capacity}u);
  let list_at = r * ${capacity}u;
  let eighth = lane & 7u;
  let eight = lane & 24u;
  let keys_at = params.k_base / 4u + key_head_of(row.local_head) * params.key_length * ${fours}u;
  let query_at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * ${fours}u;
  ${load_query}
  ${score_registers}

  // The k-th largest, bit by bit; the search may end at a bar between the k-th and the next.
  let valid = subgroupAdd(${count_valid});
  let k = params.k;
  var bar = 1u;
  var last_tie = 0xffffffffu;
  if (valid > k) {
    bar = 0u;
    var reached = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
      let higher = bar | (0x80000000u >> bit);
      let count = subgroupAdd(${count_from_higher});
      if (count >= k) {
        bar = higher;
        reached = count;
        if (count == k) { break; }
      }
    }
    if (reached != k) { // more equals than places: the largest index that still has one
      let needed = k - subgroupAdd(${count_above_bar});
      last_tie = 0u;
      for (var bit = 0u; bit < 32u; bit++) {
        let higher = last_tie | (0x80000000u >> bit);
        if (subgroupAdd(${count_ties_below}) < needed) { last_tie = higher; }
      }
    }
  }
  let has_nan = subgroupAny(${any_nan});
  let lowest = subgroupMin(${lowest_kept});
  if (lane == 0u) {
    let overflowed = head.x > ${capacity}u;
    let is_proved = head.y == MINUS_INF_BITS || (valid >= k && key_of(head.y) <= lowest);
    if (overflowed || !(is_proved || has_nan)) {
      atomicStore(&work[${counter_words}u + atomicAdd(&work[${flagged}], 1u)], r);
      if (overflowed) { atomicAdd(&work[${overflowed}], 1u); }
    }
    if ((r & 31u) == 0u) {
      atomicAdd(&work[${sampled_rows}], 1u);
      atomicAdd(&work[${sampled_counts}], min(head.x, ${most_sampled}u));
      atomicMax(&work[${longest}], head.x);
    }
  }

  let before = (1u << lane) - 1u;
  var place = 0u;
  ${write_kept}
  for (var slot = place + lane; slot < k; slot += 32u) {
    lists[list_at + slot] = 0xffffffffu;
    lists[list_at + k + slot] = select(MINUS_INF_BITS, NAN_BITS, has_nan);
  }
}
