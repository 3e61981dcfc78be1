import type { Engine } from '../engine.js';

/** What `run` returns while a flag of tf has another value. Flags are read when an op is called, never later. */
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
