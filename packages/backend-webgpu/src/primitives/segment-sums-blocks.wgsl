@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  let block = at / params.width;
  let unit = at % params.width;
  let first = block * params.block;
  if (first >= params.entries) { return; }
  let end = min(first + params.block, params.entries);
  var row = entries[first].x;
  var begun_before = first > 0u && entries[max(first, 1u) - 1u].x == row;
  var sum = Sum();
  for (var i = first; i < end; i++) {
    let entry = entries[i];
    if (entry.x != row) {
      if (begun_before) {
        parts[2u * block * params.width + unit] = sum;
      } else {
        put(params.out_base + row * params.width + unit, sum);
      }
      begun_before = false;
      row = entry.x;
      sum = Sum();
    }
    // Dropped entries are the last ones.
    if (row >= params.rows) { return; }
    sum += update_at(entry.y, unit);
  }
  let goes_on = end < params.entries && entries[min(end, params.entries - 1u)].x == row;
  if (begun_before) {
    parts[2u * block * params.width + unit] = sum;
  } else if (goes_on) {
    parts[(2u * block + 1u) * params.width + unit] = sum;
  } else {
    put(params.out_base + row * params.width + unit, sum);
  }
}
