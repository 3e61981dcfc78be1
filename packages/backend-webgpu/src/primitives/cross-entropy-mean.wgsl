var<workgroup> losses_of: array<f32, INVOCATIONS>;
var<workgroup> counts_of: array<u32, INVOCATIONS>;

/** The mean over the rows that count, from a sum and a count of each invocation. */
fn finish(local: u32, sum: f32, counted: u32) {
  losses_of[local] = sum;
  counts_of[local] = counted;
  workgroupBarrier();
  for (var step = INVOCATIONS / 2u; step > 0u; step >>= 1u) {
    if (local < step) {
      losses_of[local] += losses_of[local + step];
      counts_of[local] += counts_of[local + step];
    }
    workgroupBarrier();
  }
  if (local > 0u) { return; }
  let number = f32(counts_of[0]);
  loss[0] = select(bitcast<u32>(losses_of[0] / number), NAN_BITS, counts_of[0] == 0u);
  count[0] = number;
}
