const NONE = 0xffffffffu;
/** Where the sum of a row is in a part. */
var<workgroup> places: array<u32, INVOCATIONS>;
var<workgroup> joined: array<Sum, INVOCATIONS>;

/** Where the run of a row begins in the sorted keys of a part. */
fn place_of(row: u32, part: u32) -> u32 {
  let first = part * PART;
  var low = first;
  var high = first + PART;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (row_keys[middle] < row) { low = middle + 1u; } else { high = middle; }
  }
  let is_there = low < first + PART && row_keys[min(low, first + PART - 1u)] == row;
  return select(NONE, low, is_there);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let first_row = (workgroup.x + workgroup.y * groups.x) * params.rows_each;
  let items = params.rows_each * params.units;
  // Invocations side by side take an item each; behind them, others the same items in later parts.
  let wide = INVOCATIONS / params.lanes;
  let parts_each = params.tile / params.lanes;
  for (var tile = 0u; tile < params.parts; tile += params.tile) {
    let row = first_row + local / params.tile;
    let part = tile + local % params.tile;
    var place = NONE;
    if (row < params.rows && part < params.parts) { place = place_of(row, part); }
    places[local] = place;
    workgroupBarrier();
    for (var first_item = 0u; first_item < items; first_item += wide) {
      let item = first_item + local % wide;
      let own_row = item / params.units;
      let unit = item % params.units;
      let is_item = item < items && first_row + own_row < params.rows;
      var sum = Sum();
      if (is_item) {
        let first_place = own_row * params.tile + local / wide * parts_each;
        for (var i = first_place; i < first_place + parts_each; i++) {
          if (places[i] != NONE) { sum += sums[places[i] * params.units + unit]; }
        }
      }
      joined[local] = sum;
      workgroupBarrier();
      if (is_item && local < wide) {
        for (var lane = 1u; lane < params.lanes; lane++) { sum += joined[local + lane * wide]; }
        let to = params.out_base + (first_row + own_row) * params.units + unit;
        if (tile > 0u) { sum = out[to] + sum; }
        out[to] = sum;
      }
      workgroupBarrier();
    }
  }
}
