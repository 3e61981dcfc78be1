var<workgroup> histogram: array<atomic<u32>, DIGITS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let block = workgroup.x + workgroup.y * groups.x;
  if (block >= params.blocks) { return; }
  if (local < DIGITS) { atomicStore(&histogram[local], 0u); }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    let at = block * BLOCK + i * INVOCATIONS + local;
    if (at < params.count) { atomicAdd(&histogram[(key_at(at) >> params.shift) % DIGITS], 1u); }
  }
  workgroupBarrier();
  if (local < DIGITS) { counts[local * params.blocks + block] = atomicLoad(&histogram[local]); }
}
