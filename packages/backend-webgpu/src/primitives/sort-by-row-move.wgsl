const PAIRS = DIGITS / 2u;
/** Invocations that sum a row of counters, and the counters each of them has. */
const SUMMING = INVOCATIONS / PAIRS;
const EACH = INVOCATIONS / SUMMING;
var<workgroup> counters: array<u32, PAIRS * INVOCATIONS>;
/** Where the block's entries of each digit go. */
var<workgroup> starts: array<u32, DIGITS>;
var<workgroup> scanned: array<u32, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let block = workgroup.x + workgroup.y * groups.x;
  if (block >= params.blocks) { return; }
  if (local < DIGITS) {
    var begin = counts[local * params.blocks + block];
    for (var digit = 0u; digit < local; digit++) { begin += counts[DIGITS * params.blocks + digit]; }
    starts[local] = begin;
  }
  for (var pair = 0u; pair < PAIRS; pair++) { counters[pair * INVOCATIONS + local] = 0u; }
  let start = block * BLOCK + 4u * local;
  var keys = vec4u();
  var ranks = vec4u();
  for (var i = 0u; i < 4u; i++) {
    if (start + i < params.count) {
      keys[i] = key_at(start + i);
      let digit = (keys[i] >> params.shift) % DIGITS;
      let counter = digit % PAIRS * INVOCATIONS + local;
      let shift = 16u * (digit / PAIRS);
      ranks[i] = (counters[counter] >> shift) & 0xffffu;
      counters[counter] += 1u << shift;
    }
  }
  workgroupBarrier();
  let pair = local / SUMMING;
  let lane = local % SUMMING;
  let run = pair * INVOCATIONS + lane * EACH;
  var total = 0u;
  for (var i = 0u; i < EACH; i++) { total += counters[run + i]; }
  scanned[local] = total;
  workgroupBarrier();
  for (var step = 1u; step < SUMMING; step <<= 1u) {
    let sum = scanned[local] + select(0u, scanned[max(local, step) - step], lane >= step);
    workgroupBarrier();
    scanned[local] = sum;
    workgroupBarrier();
  }
  var before = scanned[local] - total;
  for (var i = 0u; i < EACH; i++) {
    let count = counters[run + i];
    counters[run + i] = before;
    before += count;
  }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    if (start + i < params.count) {
      let digit = (keys[i] >> params.shift) % DIGITS;
      let earlier = (counters[digit % PAIRS * INVOCATIONS + local] >> (16u * (digit / PAIRS))) & 0xffffu;
      moved[starts[digit] + earlier + ranks[i]] = vec2u(keys[i], position_at(start + i));
    }
  }
}
