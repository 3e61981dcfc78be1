import { add, concat, narrow, scope, type Tensor, zeros } from '@topk-attention/core';

/** x [..., n] -> the sum of each entry and those before it, by doubling distances: n log n. */
export function runningSums(x: Tensor): Tensor {
  const axis = x.rank - 1;
  const length = x.shape[axis] as number;
  let current = x.alias();
  for (let distance = 1; distance < length; distance *= 2) {
    const next = scope(() => {
      const blank = zeros(x.backend, [...x.shape.slice(0, axis), distance], x.dtype);
      const shifted = concat([blank, narrow(current, axis, 0, length - distance)], axis);
      return add(current, shifted);
    });
    current.dispose();
    current = next;
  }
  return current;
}
