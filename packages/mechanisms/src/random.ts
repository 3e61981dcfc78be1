import {
  add,
  type Backend,
  cast,
  mul,
  randomBits,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { MechanismCall } from '@topk-attention/nn';

/**
 * The seed of a call: its run's for this place in training, else a fixed one, so that evaluation repeats itself.
 *
 * @param mechanism named by the error
 * @throws TopKError INVALID_OPTION in training without seeds.
 */
export function seedOfCall(
  mechanism: string,
  { context, path }: MechanismCall,
  evaluationSeed: number,
): number {
  const { seeds, training } = context;
  if (seeds !== undefined) return seeds(`${path}.graph`);
  if (!training) return evaluationSeed;
  const where = path === '' ? mechanism : `${path}: ${mechanism}`;
  throw new TopKError('INVALID_OPTION', `${where}: random draws need seeds`, {
    expected: 'seeds in training',
    got: 'none',
    fix: 'Pass seeds: seedsFrom(step)',
  });
}

/**
 * Random words as numbers from -2^31 to 2^31, f32 [B, heads, L, n], by seed and place.
 *
 * @param stream below 64: another one for each use of a seed
 * @param start the place of the first row of L
 */
export function randomWords(
  backend: Backend,
  seed: number,
  stream: number,
  shape: readonly number[],
  start = 0,
): Tensor {
  return scope(() => cast(randomBits(backend, seed, shape, [stream * 2 ** 24, 0, start, 0]), 'f32'));
}

/** Uniform numbers in [0, 1], made of the words. */
export function uniformNoise(...of: Parameters<typeof randomWords>): Tensor {
  return scope(() => {
    const words = randomWords(...of);
    return add(
      scope(() => mul(words, 2 ** -32)),
      0.5,
    );
  });
}
