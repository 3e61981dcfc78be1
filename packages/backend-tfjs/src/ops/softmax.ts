import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';

/**
 * Softmax of the last axis. A row of all -inf gives zeros, where engines give NaN; a row with NaN or +inf gives NaN
 * throughout, whatever the engine's maximum makes of a NaN: the sum of the exponentials has it.
 */
export function softmaxRows({ tf }: Engine, x: TfTensor): TfTensor {
  const width = x.shape.at(-1) ?? 1;
  if (x.size === 0) return tf.clone(x);
  return tf.tidy(() => {
    const rows = tf.reshape(x, [x.size / width, width]);
    const largest = tf.max(rows, 1, true);
    const zero = tf.zerosLike(largest);
    const isEmpty = tf.equal(largest, tf.scalar(Number.NEGATIVE_INFINITY));
    const powers = tf.exp(tf.sub(rows, tf.where(isEmpty, zero, largest)));
    const total = tf.sum(powers, 1, true);
    const divisor = tf.where(tf.equal(total, tf.scalar(0)), tf.onesLike(total), total);
    return tf.reshape(tf.div(powers, divisor), x.shape);
  });
}
