import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
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
  if (name === 'wasm' || name === 'tensorflow') {
    const quick = ofOrdinaryRows(engine, x, width);
    if (quick) return quick;
  }
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
 * The engine's own, a fraction of the time of one composed of ops, unless it made a NaN: it does so of all that are to be
 * NaN, and of rows of all -inf.
 */
function ofOrdinaryRows({ tf }: Engine, x: TfTensor, width: number): TfTensor | undefined {
  const weights = tf.softmax(x);
  // Not the totals out of tf.tidy: it walks through the elements of an array it is given.
  const isOrdinary = tf.tidy(() => {
    const totals = tf.sum(tf.reshape(weights, [x.size / width, width]), 1);
    return !totals.dataSync().some(Number.isNaN);
  });
  if (isOrdinary) return weights;
  weights.dispose();
  return undefined;
}
