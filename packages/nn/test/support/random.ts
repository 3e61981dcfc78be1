import { type Backend, sizeOf, type Tensor, tensor } from '@topk-attention/core';
import { randomBits } from '@topk-attention/vitest-preset/random';

/** Numbers in [-1, 1) from a seed. */
export function randomNumbers(seed: number): () => number {
  const next = randomBits(seed);
  return () => next() / 2 ** 31 - 1;
}

/** A tensor of such numbers. */
export function randomTensor(backend: Backend, seed: number, ...shape: readonly number[]): Tensor {
  const next = randomNumbers(seed);
  return tensor(backend, Float64Array.from({ length: sizeOf(shape) }, next), shape);
}
