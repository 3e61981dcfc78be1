import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { where } from './elementwise.js';
import { hostSoftmax } from './host/softmax.js';
import { largest as largestOf } from './reduce.js';

/**
 * Softmax over the last axis. A row of all -inf gives zeros, where engines give NaN; a row with NaN or +inf gives NaN
 * throughout, even where the engine's maximum drops a NaN: the sum of the exponentials keeps it.
 */
export function softmaxRows(engine: Engine, x: TfTensor): TfTensor {
  const { tf, traits } = engine;
  const width = x.shape.at(-1) ?? 1;
  if (x.size === 0) return tf.clone(x);
  if (traits.softmax === 'loop') return tf.tensor(hostSoftmax(x.dataSync<'float32'>(), width), x.shape);
  if (traits.softmax === 'tf.softmax') return nativeSoftmax(engine, x, width);
  return tf.tidy(() => {
    const rows = tf.reshape(x, [x.size / width, width]);
    const largest = largestOf(engine, rows, [1], true);
    const zero = tf.zerosLike(largest);
    const isEmpty = tf.equal(largest, tf.scalar(Number.NEGATIVE_INFINITY));
    const exponents = tf.sub(rows, tf.where(isEmpty, zero, largest));
    const powers = tf.exp(exponents);
    const total = tf.sum(powers, 1, true);
    const divisor = tf.where(tf.equal(total, tf.scalar(0)), tf.onesLike(total), total);
    // Exponents are 0 at most, so their sum is NaN only where one of them is.
    const isNaN = traits.losesNaN ? tf.isNaN(tf.sum(exponents, 1, true)) : undefined;
    const whole = isNaN ? tf.where(isNaN, tf.fill(isNaN.shape, Number.NaN), divisor) : divisor;
    return tf.reshape(tf.div(powers, whole), x.shape);
  });
}

/**
 * tf.softmax, which takes a fraction of the time of one composed of ops. It is NaN throughout in all rows that should
 * be. It is NaN in rows of all -inf too; those are corrected where there may be any. The other rows have the same bits
 * either way.
 */
function nativeSoftmax(engine: Engine, x: TfTensor, width: number): TfTensor {
  const { tf, traits } = engine;
  const weights = tf.softmax(x);
  if (traits.isEager) {
    // The totals stay inside: tf.tidy would walk through the elements of a returned array.
    const isOrdinary = tf.tidy(() => {
      const totals = tf.sum(tf.reshape(weights, [x.size / width, width]), 1);
      return !totals.dataSync().some(Number.isNaN);
    });
    if (isOrdinary) return weights;
  }
  const mended = tf.tidy(() => {
    const rows = tf.reshape(x, [x.size / width, width]);
    const isLow = tf.equal(tf.max(rows, 1, true), tf.scalar(Number.NEGATIVE_INFINITY));
    // A maximum may drop a NaN, a sum does not.
    const isEmpty = tf.logicalAnd(isLow, tf.logicalNot(tf.isNaN(tf.sum(rows, 1, true))));
    return tf.reshape(where(engine, isEmpty, tf.scalar(0), tf.reshape(weights, rows.shape)), x.shape);
  });
  weights.dispose();
  return mended;
}
