import { type Backend, sizeOf, type Tensor, tensor } from '@topk-attention/core';

/** Numbers in [-1, 1) from a seed: mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

/** A tensor of such numbers. */
export function randomTensor(backend: Backend, seed: number, ...shape: readonly number[]): Tensor {
  const next = randomNumbers(seed);
  return tensor(backend, Float64Array.from({ length: sizeOf(shape) }, next), shape);
}
