/**
 * `scanned(x, t)`: the sum of x over all invocations before t (exclusive); the sum over all of them is in
 * `scan_total()` until the next call. Doubling steps; the numbers are integers, so any order gives the same result.
 */
export function exclusiveScan(invocations: number): string {
  return `
var<workgroup> scan_sums: array<u32, ${invocations}>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < ${invocations}u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[${invocations - 1}]; }`;
}
