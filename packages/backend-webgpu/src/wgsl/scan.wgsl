/** Inclusive scan over 256 invocations: `scanned(value, t)`; the total is in `scan_cells[255]` afterwards. */
var<workgroup> scan_cells: array<u32, 512>;
fn scanned(value: u32, t: u32) -> u32 {
  var sum = value;
  var side = 0u;
  scan_cells[t] = sum;
  workgroupBarrier();
  for (var step = 1u; step < 256u; step *= 2u) {
    if (t >= step) { sum += scan_cells[side + t - step]; }
    side = 256u - side;
    scan_cells[side + t] = sum;
    workgroupBarrier();
  }
  return sum;
}
