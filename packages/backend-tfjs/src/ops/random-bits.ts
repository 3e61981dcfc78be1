import { philox4x32, philoxKey, type Shape, sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { rememberIntegers } from './host-integers.js';

/**
 * Word 0 of Philox4x32-10 at every coordinate, as int32. Computed here and uploaded: tf has no 32 x 32 -> 64 bit product,
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

function philoxBits(
  seed: number,
  offset: readonly [number, number, number, number],
  shape: Shape,
): Int32Array {
  const key = philoxKey(seed);
  const bits = new Int32Array(sizeOf(shape));
  const [d0, d1, d2, d3] = [...shape, 1, 1, 1, 1] as [number, number, number, number];
  let position = 0;
  for (let a = 0; a < d0; a++) {
    for (let b = 0; b < d1; b++) {
      for (let c = 0; c < d2; c++) {
        for (let d = 0; d < d3; d++) {
          const counter = [
            (offset[0] + a) >>> 0,
            (offset[1] + b) >>> 0,
            (offset[2] + c) >>> 0,
            (offset[3] + d) >>> 0,
          ] as const;
          bits[position++] = philox4x32(counter, key)[0];
        }
      }
    }
  }
  return bits;
}
