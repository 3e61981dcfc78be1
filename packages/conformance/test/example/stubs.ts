import type { Backend } from '@topk-attention/core/backend';
import type { ArrayTensor } from './array-backend.js';

/** A backend of which a part is written: the rest throws when it is called. */
export function withStubs(written: Partial<Backend<ArrayTensor>>): Backend<ArrayTensor> {
  const stub = (name: string) => (): never => {
    throw new Error(`${name} is not written yet`);
  };
  return new Proxy(written, {
    // `fused` may be absent, and a promise of a backend asks for `then`.
    get: (target, name) =>
      name in target || name === 'fused' || name === 'then' ? Reflect.get(target, name) : stub(String(name)),
  }) as Backend<ArrayTensor>;
}
