import { scopeKeeping } from './scope-stack.js';
import { leavesOf } from './tree.js';

/**
 * Runs `body` and disposes every tensor made inside it except those in the tree it returns.
 * `body` must be synchronous. Tensors kept by a tape live until the tape is done.
 */
export function scope<R>(body: () => R): R {
  return scopeKeeping(body, leavesOf);
}
