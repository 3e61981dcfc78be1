import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';

/** Data of bools known to hold nothing but 0 and 1. */
const known = new WeakSet<object>();

/**
 * The caller's bools as 0 and 1. tf keeps the bytes it was given, and engines take 2 or 255 for true in some operations
 * and for false in others. A new tensor, or undefined where x can be used as it is.
 */
export function normalizedBooleans(engine: Engine, x: TfTensor): TfTensor | undefined {
  const { tf, traits } = engine;
  if (known.has(x.dataId)) return undefined;
  if (!traits.isOnHost) return tf.tidy(() => tf.logicalNot(tf.logicalNot(x)));
  const values = x.dataSync();
  if (values.every((value) => value <= 1)) {
    known.add(x.dataId);
    return undefined;
  }
  return tf.tensor(Uint8Array.from(values, Math.sign), x.shape, 'bool');
}
