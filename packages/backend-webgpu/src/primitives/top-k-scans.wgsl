fn select_by_scans(row: u32, start: u32, local: u32) {
  begin_search(local, params.k);
  if (params.k < params.width) {
  ${digits}
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
