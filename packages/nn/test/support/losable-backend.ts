import { type Backend, TopKError } from '@topk-attention/core';

/** What has to work on a device that is gone. */
const always: ReadonlySet<string | symbol> = new Set(['memory', 'release', 'flush', 'dispose']);

/** A backend whose device can be lost: from then on every primitive throws and every read rejects, as the contract says. */
export function losableBackend(inner: Backend): { readonly backend: Backend; readonly lose: () => void } {
  let isLost = false;
  const backend = new Proxy(inner, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function' || always.has(name)) return value;
      return (...args: readonly unknown[]) => {
        if (!isLost) return value.apply(target, args);
        const error = new TopKError('DEVICE_LOST', 'test: the device is lost');
        if (name === 'read' || name === 'evaluate') return Promise.reject(error);
        throw error;
      };
    },
  });
  return {
    backend,
    lose: () => {
      isLost = true;
    },
  };
}
