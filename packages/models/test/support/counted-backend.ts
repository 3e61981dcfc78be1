import type { Backend } from '@topk-attention/core';

/** A backend, and the names of the functions that were called on it, in order. */
export function countedBackend(inner: Backend): { readonly backend: Backend; readonly calls: string[] } {
  const calls: string[] = [];
  const backend = new Proxy(inner, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: readonly unknown[]) => {
        calls.push(String(name));
        return value.apply(target, args);
      };
    },
  });
  return { backend, calls };
}
