import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { isOnHost } from './layout.js';

/** Data of bools that was looked through, and holds nothing but 0 and 1. */
const known = new WeakSet<object>();

/**
 * Bools of the caller's as 0 and 1, where true may be any other number: tf keeps the bytes it was given, and engines take
 * 2 or 255 for true in some operations and for false in others. A new tensor; undefined where x is fine as it is.
 */
export function normalizedBooleans(engine: Engine, x: TfTensor): TfTensor | undefined {
  const { tf } = engine;
  if (known.has(x.dataId)) return undefined;
  if (!isOnHost(engine)) return tf.tidy(() => tf.logicalNot(tf.logicalNot(x)));
  const values = x.dataSync();
  if (values.every((value) => value <= 1)) {
    known.add(x.dataId);
    return undefined;
  }
  return tf.tensor(Uint8Array.from(values, Math.sign), x.shape, 'bool');
}
