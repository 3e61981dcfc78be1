/** Sums that join the parts of a row's invocations, in front of the last step. */
const JOINS = ${joins}u;

var<workgroup> pairs: array<vec2f, INVOCATIONS>;
#if is_wide
var<workgroup> joined_pairs: array<vec2f, INVOCATIONS / LANES * JOINS>;
#endif

/**
 * The sums over the row of two numbers, for each of its invocations, always in the same order. In two steps: each invocation
 * of the last one reads all sums of the one before, which costs fewer barriers than halving. Rows that are not `wanted` take
 * part in the barriers alone.
 */
fn row_pair(local: u32, mine: vec2f, wanted: bool) -> vec2f {
  let own = local % LANES;
  let first = local - own;
  var total = vec2f();
  pairs[local] = mine;
  workgroupBarrier();
#if is_wide
  let place = first / LANES * JOINS;
  if (wanted && own < JOINS) {
    var sum = vec2f();
    for (var i = own; i < LANES; i += JOINS) { sum += pairs[first + i]; }
    joined_pairs[place + own] = sum;
  }
  workgroupBarrier();
  if (wanted) {
    for (var i = 0u; i < JOINS; i++) { total += joined_pairs[place + i]; }
  }
#else
  if (wanted) {
    for (var i = 0u; i < LANES; i++) { total += pairs[first + i]; }
  }
  workgroupBarrier();
#endif
  return total;
}
