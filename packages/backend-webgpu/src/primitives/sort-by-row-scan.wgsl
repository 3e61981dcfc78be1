var<workgroup> scanned: array<u32, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let start = workgroup.x * params.blocks;
  var before = 0u;
  for (var tile = 0u; tile < params.blocks; tile += 4u * INVOCATIONS) {
    let first = tile + 4u * local;
    var mine = vec4u();
    for (var i = 0u; i < 4u; i++) {
      if (first + i < params.blocks) { mine[i] = counts[start + first + i]; }
    }
    let total = mine.x + mine.y + mine.z + mine.w;
    scanned[local] = total;
    workgroupBarrier();
    for (var step = 1u; step < INVOCATIONS; step <<= 1u) {
      let sum = scanned[local] + select(0u, scanned[max(local, step) - step], local >= step);
      workgroupBarrier();
      scanned[local] = sum;
      workgroupBarrier();
    }
    var sum = before + scanned[local] - total;
    for (var i = 0u; i < 4u; i++) {
      if (first + i < params.blocks) {
        counts[start + first + i] = sum;
        sum += mine[i];
      }
    }
    before += scanned[INVOCATIONS - 1u];
    workgroupBarrier();
  }
  if (local == 0u) { counts[DIGITS * params.blocks + workgroup.x] = before; }
}
