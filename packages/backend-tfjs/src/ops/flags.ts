import type { Engine } from '../engine/engine.js';

/** Calls `run` while a flag of tf has another value. Ops read flags when they are called, never later. */
export function withFlag<T>({ tf }: Engine, flag: string, value: number | boolean, run: () => T): T {
  const before = tf.env().get(flag);
  if (typeof before === 'string') return run();
  tf.env().set(flag, value);
  try {
    return run();
  } finally {
    tf.env().set(flag, before);
  }
}
