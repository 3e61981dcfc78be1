import type { Engine } from '../engine.js';
import { isOnCuda } from '../on-cuda.js';
import type { TfTensor } from '../tf.js';
import { where } from './elementwise.js';
import { hostSoftmax } from './host-softmax.js';
import { largest as largestOf } from './reduce.js';

/**
 * Softmax of the last axis. A row of all -inf gives zeros, where engines give NaN; a row with NaN or +inf gives NaN
 * throughout, whatever the engine's maximum makes of a NaN: the sum of the exponentials has it.
 */
export function softmaxRows(engine: Engine, x: TfTensor): TfTensor {
  const { tf, name } = engine;
  const width = x.shape.at(-1) ?? 1;
  if (x.size === 0) return tf.clone(x);
  if (name === 'cpu') return tf.tensor(hostSoftmax(x.dataSync<'float32'>(), width), x.shape);
  if (name === 'wasm' || name === 'tensorflow') return nativeSoftmax(engine, x, width);
  return tf.tidy(() => {
    const rows = tf.reshape(x, [x.size / width, width]);
    const largest = largestOf(engine, rows, [1], true);
    const zero = tf.zerosLike(largest);
    const isEmpty = tf.equal(largest, tf.scalar(Number.NEGATIVE_INFINITY));
    const exponents = tf.sub(rows, tf.where(isEmpty, zero, largest));
    const powers = tf.exp(exponents);
    const total = tf.sum(powers, 1, true);
    const divisor = tf.where(tf.equal(total, tf.scalar(0)), tf.onesLike(total), total);
    // WGSL leaves exp of NaN to the device; exponents are 0 at most, so that only a NaN makes their sum one.
    const isNaN = name === 'webgpu' ? tf.isNaN(tf.sum(exponents, 1, true)) : undefined;
    const whole = isNaN ? tf.where(isNaN, tf.fill(isNaN.shape, Number.NaN), divisor) : divisor;
    return tf.reshape(tf.div(powers, whole), x.shape);
  });
}

/**
 * The engine's own, a fraction of the time of one composed of ops: NaN throughout in all rows that are to be, but also in
 * rows of all -inf, which are mended where there may be some. The other rows have the same bits either way.
 */
function nativeSoftmax(engine: Engine, x: TfTensor, width: number): TfTensor {
  const { tf } = engine;
  const weights = tf.softmax(x);
  if (!isOnCuda(engine)) {
    // Not the totals out of tf.tidy: it walks through the elements of an array it is given.
    const isOrdinary = tf.tidy(() => {
      const totals = tf.sum(tf.reshape(weights, [x.size / width, width]), 1);
      return !totals.dataSync().some(Number.isNaN);
    });
    if (isOrdinary) return weights;
  }
  const mended = tf.tidy(() => {
    const rows = tf.reshape(x, [x.size / width, width]);
    const isLow = tf.equal(tf.max(rows, 1, true), tf.scalar(Number.NEGATIVE_INFINITY));
    // A maximum may lose a NaN, a sum does not.
    const isEmpty = tf.logicalAnd(isLow, tf.logicalNot(tf.isNaN(tf.sum(rows, 1, true))));
    return tf.reshape(where(engine, isEmpty, tf.scalar(0), tf.reshape(weights, rows.shape)), x.shape);
  });
  weights.dispose();
  return mended;
}
