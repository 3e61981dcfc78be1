var<workgroup> named: array<i32, ${capacity}>;
// Bits of the scores, then the weights.
var<workgroup> scored: array<u32, ${capacity}>;
var<workgroup> parts: array<${type}, INVOCATIONS>;

fn score_of(row: u32, key_row: u32, entry_at: u32) -> f32 {
  let query_at = row * ${columns}u;
  let key_at = key_row * ${columns}u;
  var sum = 0.0;
  for (var c = 0u; c < ${columns}u; c++) { sum += inner(load_query(query_at + c), load_key(key_at + c)); }
#if has_bias
  return params.scale * sum + bias[entry_at];
#else
  return params.scale * sum;
#endif
}

// Whether the entry is the first of its row with that key.
fn is_first(slot: u32) -> bool {
  for (var s = 0u; s < slot; s++) { if (named[s] == named[slot]) { return false; } }
  return true;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let query = row % params.query_length;
  let batch = row / params.query_length / params.query_heads;
  let head = row / params.query_length % params.query_heads;
  let first_key = (batch * params.key_heads + head / params.group) * params.key_length;
  let place = vec4u(batch, head, query, 0u);
  let graph_at = dot(place, params.graph_stride);

  for (var s = t; s < params.entries; s += INVOCATIONS) { named[s] = graph[graph_at + s]; }
  workgroupBarrier();

  var largest = -3.4e38;
  var bad = 0.0;
  for (var s = t; s < params.entries; s += INVOCATIONS) {
    let key = named[s];
    var bits = MINUS_INF_BITS;
    if (key != -1 && is_first(s)) {
      if (key < 0 || u32(key) >= params.key_length) {
        bits = 0x7fc00000u;
      } else {
        var visible = true;
#if causal
        visible = visible && key <= i32(query) + params.query_start;
#endif
#if has_lengths
        visible = visible && key < lengths[batch];
#endif
#if has_mask
        visible = visible && mask[batch * params.mask_stride + u32(key)] != 0u;
#endif
        if (visible) {
          let entry_at = dot(vec4u(batch, head, query, s), params.bias_stride);
          bits = bitcast<u32>(score_of(row, first_key + u32(key), entry_at));
        }
      }
    }
    scored[s] = bits;
    if (is_nan_or_plus_inf(bits)) { bad = 1.0; }
    else if (bits != MINUS_INF_BITS) { largest = max(largest, bitcast<f32>(bits)); }
  }
  largest = max_of_group(largest, t);
  let is_bad = max_of_group(bad, t) > 0.0;

  var total = 0.0;
  for (var s = t; s < params.entries; s += INVOCATIONS) {
    let bits = scored[s];
    let counts = bits != MINUS_INF_BITS && named[s] >= 0 && u32(named[s]) < params.key_length;
#if saves
    indices[row * params.entries + s] = select(-1, named[s], counts);
    scores[row * params.entries + s] = bits;
#endif
    var weight = 0.0;
    if (counts && !is_bad) { weight = exp(bitcast<f32>(bits) - largest); }
    total += weight;
    scored[s] = bitcast<u32>(weight);
    // The values of other entries do not matter, whatever they hold.
    if (!counts) { named[s] = -1; }
  }
  total = sum_of_group(total, t);
  let factor = select(1.0 / total, 0.0, total <= 0.0);

  let part = t / ${across}u;
  for (var first = 0u; first < ${value_columns}u; first += ${across}u) {
    let column = first + t % ${across}u;
    var sum = ${type}();
    if (column < ${value_columns}u && !is_bad) {
      for (var s = part; s < params.entries; s += ${parts}u) {
        if (named[s] >= 0) {
          sum += bitcast<f32>(scored[s]) * load_value((first_key + u32(named[s])) * ${value_columns}u + column);
        }
      }
    }
    parts[t] = sum;
    workgroupBarrier();
    if (part == 0u && column < ${value_columns}u) {
      for (var other = 1u; other < ${parts}u; other++) { sum += parts[other * ${across}u + t]; }
      result[row * ${value_columns}u + column] = select(sum * factor, ${type}(nan()), is_bad);
    }
    workgroupBarrier();
  }
}
