/** Entries of a part that are summed side by side, and neighbouring units of a row. */
const UNITS = 16u;
const LANES = INVOCATIONS / UNITS;
const EACH = INVOCATIONS / LANES;
var<workgroup> keys: array<u32, INVOCATIONS>;
var<workgroup> sorted_keys: array<u32, INVOCATIONS>;
var<workgroup> sorted_at: array<u32, INVOCATIONS>;
/** What a run has in a lane in which it does not begin. */
var<workgroup> heads: array<Sum, INVOCATIONS>;

fn update_at(sorted: u32, unit: u32) -> Sum {
  if (sorted_keys[sorted] >= params.rows || unit >= params.units) { return Sum(); }
  return updates[params.updates_base + sorted_at[sorted] * params.units + unit];
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let first = workgroup.y * INVOCATIONS;
  let at = first + local;
  // What is dropped comes last.
  var key = params.rows;
  if (at < params.count) { key = min(bitcast<u32>(indices[params.indices_base + at]), params.rows); }
  keys[local] = key;
  workgroupBarrier();
  var rank = 0u;
  for (var i = 0u; i < INVOCATIONS; i++) {
    let other = keys[i];
    rank += u32(other < key || (other == key && i < local));
  }
  sorted_keys[rank] = key;
  sorted_at[rank] = at;
  workgroupBarrier();
  if (workgroup.x == 0u) { row_keys[at] = sorted_keys[local]; }

  let unit = workgroup.x * UNITS + local % UNITS;
  let lane = local / UNITS;
  let begin = lane * EACH;
  // All loads first, so that they do not wait for each other.
  ${loads}
  var row = sorted_keys[begin];
  var run = begin;
  var is_head = begin > 0u && sorted_keys[max(begin, 1u) - 1u] == row;
  var sum = update_0;
  ${steps}
  if (is_head) { heads[local] = sum; }
  workgroupBarrier();
  if (is_head || row >= params.rows || unit >= params.units) { return; }
  for (var next = lane + 1u; next < LANES; next++) {
    if (sorted_keys[next * EACH] != row) { break; }
    sum += heads[next * UNITS + local % UNITS];
  }
  sums[(first + run) * params.units + unit] = sum;
}
