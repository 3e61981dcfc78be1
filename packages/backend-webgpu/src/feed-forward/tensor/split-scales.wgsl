var<workgroup> part: array<u32, 256>;

/** Bits of |x|, 0 beyond the line. */
fn size_of(line: u32, i: u32) -> u32 {
  if (i >= params.inner) { return 0u; }
#if is_across
  return bitcast<u32>(x[params.x_base + i * params.lines + line]) & 0x7fffffffu;
#else
  return bitcast<u32>(x[params.x_base + line * params.inner + i]) & 0x7fffffffu;
#endif
}

@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) t: vec3u) {
  let id = group.x + group.y * groups.x;
#if is_across
  let line = id * 32u + t.x;
  let first = t.y; let step = 8u; let cell = t.y * 32u + t.x;
#else
  let line = id * 8u + t.y;
  let first = t.x; let step = 32u; let cell = t.x * 8u + t.y;
#endif
  var largest = 0u;
  if (line < params.lines) {
    for (var i = first; i < params.inner; i += 8u * step) {
      ${loads}
      largest = max(largest, max(max(max(x0, x1), max(x2, x3)), max(max(x4, x5), max(x6, x7))));
    }
  }
  part[cell] = largest;
  workgroupBarrier();
#if is_across
  if (t.y != 0u || line >= params.lines) { return; }
  for (var i = 1u; i < 8u; i++) { largest = max(largest, part[i * 32u + t.x]); }
#else
  if (t.x != 0u || line >= params.lines) { return; }
  for (var i = 1u; i < 32u; i++) { largest = max(largest, part[i * 8u + t.y]); }
#endif
  if (largest >= 0x71800000u) { // 2^100
    atomicStore(&marks[1u + line], 1u);
    atomicStore(&marks[0], 1u);
    scales[line] = 1.0;
    return;
  }
  // 2^(exponent - 13), within the normal numbers.
  let exponent = max(i32(largest >> 23u) - 13, 16);
  scales[line] = bitcast<f32>(u32(exponent) << 23u);
}
