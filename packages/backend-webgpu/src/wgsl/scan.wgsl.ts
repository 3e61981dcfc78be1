// Made from scan.wgsl by tooling/wgsl/inline.mjs.
export const text: string =
  "/** Inclusive scan over 256 invocations: `scanned(value, t)`; the total is in `scan_cells[255]` afterwards. */\nvar<workgroup> scan_cells: array<u32, 512>;\nfn scanned(value: u32, t: u32) -> u32 {\n  var sum = value;\n  var side = 0u;\n  scan_cells[t] = sum;\n  workgroupBarrier();\n  for (var step = 1u; step < 256u; step *= 2u) {\n    if (t >= step) { sum += scan_cells[side + t - step]; }\n    side = 256u - side;\n    scan_cells[side + t] = sum;\n    workgroupBarrier();\n  }\n  return sum;\n}";
