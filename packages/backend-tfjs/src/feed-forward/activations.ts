import type { Activation } from '@topk-attention/core';
import type { Engine } from '../engine/engine.js';
import { where } from '../ops/elementwise.js';
import type { TfTensor } from '../tf.js';

/** The activation of pre-activations, by core's formulas. NaN stays NaN. */
export function activate(engine: Engine, x: TfTensor, activation: Activation): TfTensor {
  const { tf } = engine;
  return tf.tidy(() => {
    switch (activation) {
      case 'relu':
        return where(engine, tf.lessEqual(x, 0), tf.scalar(0), x);
      case 'gelu':
        return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
      case 'gelu_tanh': {
        const cubic = tf.mul(tf.mul(x, tf.mul(x, x)), 0.044715);
        const inner = tf.mul(tf.add(x, cubic), Math.sqrt(2 / Math.PI));
        return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
      }
      case 'silu':
        return tf.mul(x, tf.sigmoid(x));
      default:
        return activation satisfies never;
    }
  });
}
