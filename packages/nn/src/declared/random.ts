import { philoxBits } from '@topk-attention/core/backend';

/**
 * `count` uniform numbers in (0, 1) from a seed. `stream` picks another sequence of the same seed. Made on the host, so
 * equal on every backend.
 */
export function uniformNumbers(seed: number, count: number, stream = 0): Float64Array {
  const bits = philoxBits(seed, [0, stream, 0, 0], [count]);
  return Float64Array.from(bits, (word) => ((word >>> 0) + 0.5) / 2 ** 32);
}

/** `count` normal numbers, N(0, 1), by the Box-Muller method. */
export function normalNumbers(seed: number, count: number, stream = 0): Float64Array {
  const radii = uniformNumbers(seed, count, 2 * stream);
  const angles = uniformNumbers(seed, count, 2 * stream + 1);
  return radii.map(
    (radius, at) => Math.sqrt(-2 * Math.log(radius)) * Math.cos(2 * Math.PI * (angles[at] as number)),
  );
}
