/** Lines of unrolled WGSL, one per index. */
export function times(count: number, line: (index: number) => string, separator = '\n'): string {
  return Array.from({ length: count }, (_, index) => line(index)).join(separator);
}

/** Bits of a quiet NaN, for uniform blocks: WGSL rejects NaN in constant expressions. */
export const NAN_BITS = 0x7fc00000;

/** Inclusive scan over 256 invocations: `scanned(value, t)`; the total is in `scan_cells[...]` of invocation 255. */
export const SCAN_TEXT = `
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
}`;
