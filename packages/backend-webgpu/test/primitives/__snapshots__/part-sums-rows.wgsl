struct Params { rows: u32, count: u32, units: u32, indices_base: u32, updates_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> updates: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> row_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;
const INVOCATIONS = 256u;
alias Sum = vec4<f32>;
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
  let update_0 = update_at(begin + 0u, unit);
  let update_1 = update_at(begin + 1u, unit);
  let update_2 = update_at(begin + 2u, unit);
  let update_3 = update_at(begin + 3u, unit);
  let update_4 = update_at(begin + 4u, unit);
  let update_5 = update_at(begin + 5u, unit);
  let update_6 = update_at(begin + 6u, unit);
  let update_7 = update_at(begin + 7u, unit);
  let update_8 = update_at(begin + 8u, unit);
  let update_9 = update_at(begin + 9u, unit);
  let update_10 = update_at(begin + 10u, unit);
  let update_11 = update_at(begin + 11u, unit);
  let update_12 = update_at(begin + 12u, unit);
  let update_13 = update_at(begin + 13u, unit);
  let update_14 = update_at(begin + 14u, unit);
  let update_15 = update_at(begin + 15u, unit);
  var row = sorted_keys[begin];
  var run = begin;
  var is_head = begin > 0u && sorted_keys[max(begin, 1u) - 1u] == row;
  var sum = update_0;
  if (sorted_keys[begin + 1u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 1u];
    run = begin + 1u;
    sum = update_1;
  } else {
    sum += update_1;
  }
  if (sorted_keys[begin + 2u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 2u];
    run = begin + 2u;
    sum = update_2;
  } else {
    sum += update_2;
  }
  if (sorted_keys[begin + 3u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 3u];
    run = begin + 3u;
    sum = update_3;
  } else {
    sum += update_3;
  }
  if (sorted_keys[begin + 4u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 4u];
    run = begin + 4u;
    sum = update_4;
  } else {
    sum += update_4;
  }
  if (sorted_keys[begin + 5u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 5u];
    run = begin + 5u;
    sum = update_5;
  } else {
    sum += update_5;
  }
  if (sorted_keys[begin + 6u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 6u];
    run = begin + 6u;
    sum = update_6;
  } else {
    sum += update_6;
  }
  if (sorted_keys[begin + 7u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 7u];
    run = begin + 7u;
    sum = update_7;
  } else {
    sum += update_7;
  }
  if (sorted_keys[begin + 8u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 8u];
    run = begin + 8u;
    sum = update_8;
  } else {
    sum += update_8;
  }
  if (sorted_keys[begin + 9u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 9u];
    run = begin + 9u;
    sum = update_9;
  } else {
    sum += update_9;
  }
  if (sorted_keys[begin + 10u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 10u];
    run = begin + 10u;
    sum = update_10;
  } else {
    sum += update_10;
  }
  if (sorted_keys[begin + 11u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 11u];
    run = begin + 11u;
    sum = update_11;
  } else {
    sum += update_11;
  }
  if (sorted_keys[begin + 12u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 12u];
    run = begin + 12u;
    sum = update_12;
  } else {
    sum += update_12;
  }
  if (sorted_keys[begin + 13u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 13u];
    run = begin + 13u;
    sum = update_13;
  } else {
    sum += update_13;
  }
  if (sorted_keys[begin + 14u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 14u];
    run = begin + 14u;
    sum = update_14;
  } else {
    sum += update_14;
  }
  if (sorted_keys[begin + 15u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + 15u];
    run = begin + 15u;
    sum = update_15;
  } else {
    sum += update_15;
  }
  if (is_head) { heads[local] = sum; }
  workgroupBarrier();
  if (is_head || row >= params.rows || unit >= params.units) { return; }
  for (var next = lane + 1u; next < LANES; next++) {
    if (sorted_keys[next * EACH] != row) { break; }
    sum += heads[next * UNITS + local % UNITS];
  }
  sums[(first + run) * params.units + unit] = sum;
}