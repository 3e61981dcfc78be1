import type { Shape } from '@topk-attention/core';
import { dropoutWords } from '@topk-attention/core/backend';
import type { Engine } from '../engine/engine.js';
import { randomBits } from '../ops/random-bits.js';
import type { TfTensor } from '../tf.js';

/**
 * Dropout factors, f32, 0 or 1 / (1 - rate), for the slots of a range of queries beginning at `offset`. Keyed by
 * (seed, batch, head, query, slot), so the backward pass and any chunking reproduce them.
 */
export function dropoutFactors(
  engine: Engine,
  dropout: { readonly rate: number; readonly seed: number },
  offset: readonly [batch: number, head: number, query: number, slot: number],
  shape: Shape,
): TfTensor {
  const { tf } = engine;
  return tf.tidy(() => {
    const bits = randomBits(engine, dropout.seed, offset, shape);
    const { threshold, keptScale } = dropoutWords(dropout);
    // bits >= threshold as unsigned numbers, although int32 tensors compare as signed ones.
    const isKept =
      threshold < 2 ** 31
        ? tf.logicalNot(
            tf.logicalAnd(
              tf.lessEqual(tf.scalar(0, 'int32'), bits),
              tf.less(bits, tf.scalar(threshold, 'int32')),
            ),
          )
        : tf.logicalAnd(
            tf.less(bits, tf.scalar(0, 'int32')),
            tf.lessEqual(tf.scalar(threshold - 2 ** 32, 'int32'), bits),
          );
    return tf.mul(tf.cast(isKept, 'float32'), keptScale);
  });
}
