import type { TopKError } from '@topk-attention/core';
import { scopeError } from './failure.js';

/** Runs calls of the engine inside error scopes, and reports what these caught, now or later. */
export class ErrorScopes {
  readonly #device: GPUDevice;
  readonly #fail: (error: TopKError) => void;
  readonly #open = new Set<Promise<void>>();

  constructor(device: GPUDevice, fail: (error: TopKError) => void) {
    this.#device = device;
    this.#fail = fail;
  }

  /** Scopes that have not resolved yet. */
  get open(): Iterable<Promise<void>> {
    return this.#open;
  }

  run<T>(body: () => T): T {
    const device = this.#device;
    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('validation');
    try {
      return body();
    } finally {
      const check = this.#outcome(device.popErrorScope(), device.popErrorScope());
      this.#open.add(check);
      void check.then(() => this.#open.delete(check));
    }
  }

  async #outcome(invalid: Promise<GPUError | null>, exhausted: Promise<GPUError | null>): Promise<void> {
    // A rejection means that the device is lost, which is reported as such.
    exhausted.catch(() => {});
    try {
      const error = scopeError(await invalid, await exhausted);
      if (error !== undefined) this.#fail(error);
    } catch {}
  }
}
