@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let r = group.x + group.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  if (row.query >= params.query_length) { return; }
  let k = params.k;
  let list_at = r * ${capacity}u;
  let row_place = row.local_head * params.query_length + row.local_query;

  var largest = 0u;
  var count = 0u;
  for (var slot = lane; slot < k; slot += 32u) {
    let key = lists[list_at + slot];
    let bits = lists[list_at + k + slot];
    keys[slot] = key;
    weights[slot] = bitcast<f32>(bits);
    if (key != 0xffffffffu) {
      count++;
      largest = max(largest, key_of(bits));
    } else if (is_nan(bits)) {
      largest = 0xffffffffu;
    }
    ${save_slot}
  }
  largest = max_of_lanes(largest, lane);
  count = sum_of_lanes_u32(count, lane);
  let is_bad = largest >= key_of(PLUS_INF_BITS);
  let base = bitcast<f32>(bits_of_key(select(largest, 0x80000000u, is_bad || count == 0u)));
  var sum = 0.0;
  for (var slot = lane; slot < count; slot += 32u) {
    let weight = exp(weights[slot] - base);
    weights[slot] = weight;
    sum += weight;
  }
  sum = sum_of_lanes(sum, lane);
  let share = 1.0 / max(sum, 1e-38);
  for (var slot = lane; slot < count; slot += 32u) {
    weights[slot] *= share${dropout_factor};
  }
  workgroupBarrier();

  let part = lane / ${width}u;
  let c = lane % ${width}u;
  let values_at = params.v_base / 4u + key_head_of(row.local_head) * params.key_length * ${fours}u;
  ${declare_sums}
  if (part < ${parts}u) {
    for (var slot = part; slot < count; slot += ${rows_at_once}u) {
      ${rows}
      ${values}
      ${row_weights}
      ${add_values}
    }
  }
  ${join_parts}
  ${store_sums}
}
