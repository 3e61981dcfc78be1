import { TopKError } from '../contract/errors.js';

interface Disposable {
  dispose(): void;
}

// The tensors made inside each open scope(), as a stack. Scopes are synchronous, so one stack per process is enough.
const scopes: Set<Disposable>[] = [];

/** @internal Called by each new tensor. */
export function registerInScope(made: Disposable): void {
  scopes.at(-1)?.add(made);
}

/** @internal Runs `body`; disposes every tensor made inside it that `kept` does not return. */
export function scopeKeeping<R>(body: () => R, kept: (result: R) => readonly Disposable[]): R {
  const own = new Set<Disposable>();
  scopes.push(own);
  let survivors: readonly Disposable[] = [];
  try {
    const result = body();
    if (isPromise(result)) {
      // The error below reports the problem: an unobserved later rejection would end the process.
      result.then(undefined, () => {});
      throw new TopKError('INVALID_OPTION', 'scope: the function returned a promise', {
        expected: 'a synchronous function',
        fix: 'Await outside scope(), or call dispose() yourself in asynchronous code',
      });
    }
    survivors = kept(result);
    return result;
  } finally {
    scopes.pop();
    const outer = scopes.at(-1);
    for (const survivor of survivors) {
      if (own.delete(survivor)) outer?.add(survivor);
    }
    for (const made of own) made.dispose();
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
