import type { Tf } from '../tf.js';

/** Returns what `run` returns, and disposes of all tensors it made: for results that are not tensors. */
export function inScope<T>(tf: Tf, run: () => T): T {
  const made: T[] = [];
  tf.tidy(() => {
    made.push(run());
  });
  return made[0] as T;
}
