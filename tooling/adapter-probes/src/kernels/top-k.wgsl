// One invocation per row. Bits are mapped to unsigned keys in the order of the numbers, so no float is compared and
// nothing depends on what a compiler assumes of infinities. The threshold, the k-th largest key, is found bit by bit;
// one ascending pass then keeps what lies above it and, of its equals, the first ones.
struct Sizes { count: u32, width: u32, k: u32 }
@group(0) @binding(0) var<storage, read> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> indices: array<i32>;

const MINUS_INFINITY_BITS = 0xff800000u;
const MINUS_INFINITY_KEY = 0x007fffffu;

fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; } // -0 ties with 0
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = id.x + id.y * groups.x * 64u;
  if (row >= sizes.count) { return; }
  let start = row * sizes.width;
  var threshold = 0u; // stays below every key when fewer than k are above -inf: all of them are kept
  for (var step = 0u; step < 32u; step++) {
    let candidate = threshold | (0x80000000u >> step);
    var reached = 0u;
    for (var j = 0u; j < sizes.width; j++) {
      let key = key_of(x[start + j]);
      if (key >= candidate && key > MINUS_INFINITY_KEY) { reached++; }
    }
    if (reached >= sizes.k) { threshold = candidate; }
  }
  var ties = sizes.k;
  for (var j = 0u; j < sizes.width; j++) {
    let key = key_of(x[start + j]);
    if (key > threshold && key > MINUS_INFINITY_KEY) { ties--; }
  }
  var slot = row * sizes.k;
  for (var j = 0u; j < sizes.width; j++) {
    let key = key_of(x[start + j]);
    if (key <= MINUS_INFINITY_KEY || key < threshold) { continue; }
    if (key == threshold) {
      if (ties == 0u) { continue; }
      ties--;
    }
    values[slot] = x[start + j];
    indices[slot] = i32(j);
    slot++;
  }
  for (; slot < (row + 1u) * sizes.k; slot++) {
    values[slot] = MINUS_INFINITY_BITS;
    indices[slot] = -1;
  }
}
