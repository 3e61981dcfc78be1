const CAPACITY = ${each}u * INVOCATIONS;
var<workgroup> pool: array<atomic<u32>, ${pool_words}>;
var<workgroup> listed: atomic<u32>;
var<workgroup> listed_count: u32;

/** Sums of the bits set in the pool before those of each invocation, which has `each` words of it. */
fn scan_bits(local: u32, words: u32, each: u32) {
  var count = 0u;
  for (var i = 0u; i < each; i++) {
    let word = local * each + i;
    if (word < words) { count += countOneBits(atomicLoad(&pool[word])); }
  }
  scanned[local] = count;
  scan(local);
}

/** Bits set before bit j of the pool, after `scan_bits`. */
fn bits_before(j: u32, each: u32) -> u32 {
  let word = j / 32u;
  let owner = word / each;
  var count = select(0u, scanned[max(owner, 1u) - 1u], owner > 0u);
  for (var i = owner * each; i < word; i++) { count += countOneBits(atomicLoad(&pool[i])); }
  return count + countOneBits(atomicLoad(&pool[word]) & ((1u << (j % 32u)) - 1u));
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.x + workgroup.y * groups.x;
  if (row >= params.rows) { return; }
  let start = params.x_base + row * params.width;
  ${declare}
  ${list}
  begin_search(local, params.k);
  workgroupBarrier();
  ${search}
  workgroupBarrier();
  end_search(local);
  let least = threshold;
  let allowed = quota;
  let words = (params.width + 31u) / 32u;
  let each = (words + INVOCATIONS - 1u) / INVOCATIONS;
  ${above}
  if (workgroupUniformLoad(&quota) > 0u && workgroupUniformLoad(&threshold) > 0u) {
    // More entries equal the threshold than are wanted: the first of them.
    ${clear_pool}
    ${mark_ties}
    workgroupBarrier();
    scan_bits(local, words, each);
    ${keep_first_ties}
    workgroupBarrier();
  }
  ${clear_pool}
  ${mark_kept}
  workgroupBarrier();
  scan_bits(local, words, each);
  ${write_kept}
  fill_unused(row, scanned[INVOCATIONS - 1u], local);
}
