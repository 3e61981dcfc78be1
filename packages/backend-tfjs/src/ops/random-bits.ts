import type { Shape } from '@topk-attention/core';
import { philoxBits } from '@topk-attention/core/backend';
import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { rememberIntegers } from './host/integers.js';

/**
 * Words of Philox4x32-10, as int32. Computed on the host: tf has no 32 x 32 -> 64 bit product,
 * its integer products do not wrap on every engine, and WebGL's integers are floats.
 */
export function randomBits(
  engine: Engine,
  seed: number,
  offset: readonly [number, number, number, number],
  shape: Shape,
): TfTensor {
  const bits = philoxBits(seed, offset, shape);
  const tensor = engine.tf.tensor(bits, [...shape], 'int32');
  rememberIntegers(engine, tensor, bits);
  return tensor;
}
