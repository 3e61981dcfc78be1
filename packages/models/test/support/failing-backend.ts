import { type Backend, TopKError } from '@topk-attention/core';

/** What makes no tensor, and never fails. */
const bookkeeping: ReadonlySet<string | symbol> = new Set([
  'read',
  'evaluate',
  'flush',
  'release',
  'memory',
  'resetPeak',
  'dispose',
]);

/**
 * A backend whose call number `failAt` (from 1) that makes a tensor throws an error of structure, as one of a limit is: it
 * leaves the operation at once, where an engine's own error would poison the result.
 */
export function failingBackend(inner: Backend): { readonly backend: Backend; failAt: number; calls: number } {
  const state = { backend: inner, failAt: Number.POSITIVE_INFINITY, calls: 0 };
  state.backend = new Proxy(inner, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function' || bookkeeping.has(name)) return value;
      return (...args: readonly unknown[]) => {
        state.calls++;
        if (state.calls === state.failAt) {
          throw new TopKError('UNSUPPORTED', `call ${state.calls} of the backend fails: ${String(name)}`);
        }
        return value.apply(target, args);
      };
    },
  });
  return state;
}
