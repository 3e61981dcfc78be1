struct Params { count: u32, entries: u32, each: u32, run: u32, table_base: u32, targets_base: u32, first_base: u32, below_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> first: array<i32>;
@group(0) @binding(4) var<storage, read_write> below: array<i32>;
const INVOCATIONS = 64u;

fn is_nan(bits: u32) -> bool { return (bits & 0x7fffffffu) > 0x7f800000u; }
fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}
/** Whether the entry at a place of the row from `start` on lies below a number; at -1 it is 0, else outside NaN. */
fn is_below(start: u32, place: i32, key: u32) -> bool {
  if (place == -1) { return key_of(0u) < key; }
  if (place < 0 || u32(place) >= params.entries) { return false; }
  let bits = table[start + u32(place)];
  return !is_nan(bits) && key_of(bits) < key;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  if (at >= params.count) { return; }
  let wanted = targets[params.targets_base + at];
  let begin = first[params.first_base + at];
  let start = params.table_base + at / params.each * params.entries;
  let key = key_of(wanted);
  var low = begin;
  // No entry is below NaN.
  var left = select(params.run, 0u, is_nan(wanted));
  while (left > 1u) {
    let half = left / 2u;
    if (is_below(start, low + i32(half) - 1, key)) { low += i32(half); }
    left -= half;
  }
  if (left == 1u && is_below(start, low, key)) { low += 1; }
  below[params.below_base + at] = low - begin;
}