import { add, cast, fill, lt, scope, sub, type Tensor, where } from '@topk-attention/core';

/**
 * How many of the `count` ascending entries from `first` on lie below a target: i32, from 0 to `count`. By halving, in about
 * log2(count) looks; each step moves by one of two numbers that do not depend on the values.
 *
 * @param look the entries at some places, in the targets' shape
 * @param targets f32
 * @param first i32, in the targets' shape
 */
export function countBelow(
  look: (at: Tensor) => Tensor,
  targets: Tensor,
  first: Tensor,
  count: number,
): Tensor {
  const { backend } = targets;
  return scope(() => {
    const steps = halvesOf(count);
    let at = add(first, (steps[0] ?? 1) - 1);
    for (const [index, step] of steps.entries()) {
      const next = scope(() => {
        const isBelow = lt(look(at), targets);
        const following = steps[index + 1];
        // The last look is at the only entry that is left.
        if (following === undefined) return add(at, cast(isBelow, 'i32'));
        return add(at, where(isBelow, fill(backend, following, [], 'i32'), following - step));
      });
      at.dispose();
      at = next;
    }
    return sub(at, first);
  });
}

/** The lower halves of what is left: with h of n entries below, n - h are left, and otherwise as many are looked at. */
function halvesOf(count: number): readonly number[] {
  const halves: number[] = [];
  let left = count;
  while (left > 1) {
    const half = Math.floor(left / 2);
    halves.push(half);
    left -= half;
  }
  return count > 0 ? [...halves, 1] : halves;
}
