import { philoxBits } from '@topk-attention/core/backend';

/**
 * `count` uniform numbers in (0, 1) from a seed. `stream` picks another sequence of the same seed. Made on the host, so
 * equal on every backend.
 */
export function uniformNumbers(seed: number, count: number, stream = 0): Float64Array {
  const bits = philoxBits(seed, [0, stream, 0, 0], [count]);
  const numbers = new Float64Array(count);
  for (let at = 0; at < count; at++) numbers[at] = (((bits[at] as number) >>> 0) + 0.5) / 2 ** 32;
  return numbers;
}

/** `count` normal numbers, N(0, 1), by the Box-Muller method. */
export function normalNumbers(seed: number, count: number, stream = 0): Float64Array {
  const numbers = uniformNumbers(seed, count, 2 * stream);
  const angles = uniformNumbers(seed, count, 2 * stream + 1);
  for (let at = 0; at < count; at++) {
    const radius = Math.sqrt(-2 * Math.log(numbers[at] as number));
    numbers[at] = radius * Math.cos(2 * Math.PI * (angles[at] as number));
  }
  return numbers;
}
