var<workgroup> parts: array<${type}, INVOCATIONS>;

// dO of the row . V of the key
fn product(row: u32, value_row: u32) -> f32 {
  let gradient_at = ${gradient_base} + row * ${value_columns}u;
  let value_at = ${value_base} + value_row * ${value_columns}u;
  var sum = 0.0;
  for (var c = 0u; c < ${value_columns}u; c++) {
    sum += inner(load_gradient(gradient_at + c), load_value(value_at + c));
  }
  return sum;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let first_key = (row / params.rows_per_unit) * params.keys;
  let first_slot = row * params.slots;

  var largest = -3.4e38;
  var bad = 0.0;
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    let bits = scores[params.scores_base + first_slot + s];
    if (is_nan_or_plus_inf(bits)) { bad = 1.0; }
    else if (indices[params.indices_base + first_slot + s] >= 0) { largest = max(largest, bitcast<f32>(bits)); }
  }
  largest = max_of_group(largest, t);
  let is_bad = max_of_group(bad, t) > 0.0;

  var total = 0.0;
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    if (indices[params.indices_base + first_slot + s] >= 0) {
      total += exp(bitcast<f32>(scores[params.scores_base + first_slot + s]) - largest);
    }
  }
  total = sum_of_group(total, t);

  var mean = 0.0;
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    let key = indices[params.indices_base + first_slot + s];
    var pair = vec2f(0.0);
    if (key >= 0) {
      let p = exp(bitcast<f32>(scores[params.scores_base + first_slot + s]) - largest) / total;
      pair = vec2f(p, dropout_factor(row, s) * product(row, first_key + u32(key)));
      mean += pair.x * pair.y;
    }
    weights[first_slot + s] = pair;
  }
  mean = sum_of_group(mean, t);
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    let pair = weights[first_slot + s];
    let made = vec2f(pair.x * dropout_factor(row, s), pair.x * (pair.y - mean));
    weights[first_slot + s] = select(made, vec2f(nan()), is_bad);
  }
  storageBarrier();

  let part = t / ${across}u;
  let key_base = ${key_base};
  for (var first = 0u; first < ${columns}u; first += ${across}u) {
    let column = first + t % ${across}u;
    var sum = ${type}();
    if (column < ${columns}u) {
      for (var s = part; s < params.slots; s += ${parts}u) {
        let key = indices[params.indices_base + first_slot + s];
        if (key >= 0) {
          sum += weights[first_slot + s].y
            * load_key(key_base + (first_key + u32(key)) * ${columns}u + column);
        }
      }
    }
    parts[t] = sum;
    workgroupBarrier();
    if (part == 0u && column < ${columns}u) {
      for (var other = 1u; other < ${parts}u; other++) { sum += parts[other * ${across}u + t]; }
      result[${result_base} + row * ${columns}u + column]
        = select(sum * params.scale, ${type}(nan()), is_bad);
    }
    workgroupBarrier();
  }
}
