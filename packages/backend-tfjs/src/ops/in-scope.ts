import type { Tf } from '../tf.js';

/** What `run` returns, all tensors that it made disposed of: for results that are not tensors. */
export function inScope<T>(tf: Tf, run: () => T): T {
  const made: T[] = [];
  tf.tidy(() => {
    made.push(run());
  });
  return made[0] as T;
}
