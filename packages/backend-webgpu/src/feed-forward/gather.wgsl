@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = group.x + group.y * groups.x;
  let token = (id % params.blocks) * (INVOCATIONS / ${lanes}u) + t / ${lanes}u;
  let column = ((id / params.blocks) * ${lanes}u + t % ${lanes}u) * ${width}u;
  if (id >= params.blocks * params.slabs || token >= params.tokens || column >= params.columns) { return; }
  let counted = counts[params.counts_base + token];
  let is_nan_row = counted == 0xffffffffu;
  let count = select(counted, 0u, is_nan_row);
#if is_spread
  let list = starts[params.starts_base + token];
#else
  let list = token * params.k;
#endif
  var slot = 0u;
#if is_repair
  if (marks[params.marks_base] == 0u && !is_nan_row) { return; }
  var is_marked = is_nan_row;
  for (; slot < count; slot++) {
    if (marks[params.marks_base + 1u + u32(${index})] != 0u) { is_marked = true; break; }
  }
  if (!is_marked) { return; }
  slot = 0u;
#endif
  let stride = params.columns / ${width}u;
  let rows_at = (params.rows_base + column) / ${width}u;
  let out_at = (params.out_base + column) / ${width}u;
  var sum = ${columns}();
#if has_vector_lists
  for (; slot + ${unroll}u <= count; slot += ${unroll}u) {
    let index_at = params.indices_base + list + slot;
    let weight_at = params.weights_base + list + slot;
    ${add_unrolled}
  }
#endif
  for (; slot < count; slot++) {
    sum = fma(${columns}(${weight}), rows[rows_at + u32(${index}) * stride], sum);
  }
#if has_bias
  sum += ${bias};
#endif
  if (is_nan_row) { sum = ${columns}(bitcast<f32>(params.nan_bits)); }
  let place = out_at + token * stride;
#if accumulates
  out[place] = out[place] + sum;
#else
  out[place] = sum;
#endif
}
