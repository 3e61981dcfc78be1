var<workgroup> block: array<f32, 272>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = group.x + group.y * groups.x;
  if (id >= params.words / 256u) { return; }
  let line0 = (id / params.blocks) * 16u;
  let inner0 = (id % params.blocks) * 16u;
#if is_across
  let line = line0 + t % 16u;
  let at = inner0 + t / 16u;
#else
  let line = line0 + t / 16u;
  let at = inner0 + t % 16u;
#endif
  var value = 0.0;
  if (line < params.lines && at < params.inner && marks[1u + line] == 0u) {
    // The inverse of a power of two, exactly.
    let inverse = bitcast<f32>((254u << 23u) - bitcast<u32>(scales[line]));
#if is_across
    value = x[params.x_base + at * params.lines + line] * inverse;
#else
    value = x[params.x_base + line * params.inner + at] * inverse;
#endif
  }
#if is_across
  block[(t % 16u) * 17u + t / 16u] = value;
  workgroupBarrier();
  value = block[(t / 16u) * 17u + t % 16u];
#endif
  // Rounded to 11 bits on the bits: a driver was seen to fold value - f32(f16(value)) to zero.
  let hi = bitcast<f32>((bitcast<u32>(value) + 0x1000u) & 0xffffe000u);
  packed[id * 512u + t] = f16(hi);
  packed[id * 512u + 256u + t] = f16(value - hi);
}
