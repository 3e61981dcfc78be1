/**
 * `sort_by_key(count, lane)`: sorts the first `count` entries of `sort_keys` in ascending order, and `sort_orders`
 * with them; a bitonic sort of `size` (a power of two) places in workgroup memory by `invocations` of a workgroup.
 * `count` is the same in all of them.
 */
export function sortText(size: number, invocations: number): string {
  return `
var<workgroup> sort_keys: array<u32, ${size}>;
var<workgroup> sort_orders: array<u32, ${size}>;
fn sort_by_key(count: u32, lane: u32) {
  for (var at = count + lane; at < ${size}u; at += ${invocations}u) { sort_keys[at] = 0xffffffffu; }
  workgroupBarrier();
  for (var run = 2u; run <= ${size}u; run *= 2u) {
    for (var step = run / 2u; step > 0u; step /= 2u) {
      for (var pair = lane; pair < ${size / 2}u; pair += ${invocations}u) {
        let low = 2u * pair - (pair & (step - 1u));
        let high = low + step;
        let a = sort_keys[low];
        let b = sort_keys[high];
        if ((a > b) == ((low & run) == 0u)) {
          sort_keys[low] = b;
          sort_keys[high] = a;
          let order = sort_orders[low];
          sort_orders[low] = sort_orders[high];
          sort_orders[high] = order;
        }
      }
      workgroupBarrier();
    }
  }
}`;
}
