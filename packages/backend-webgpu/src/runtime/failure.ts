import { TopKError } from '@topk-attention/core';

/** The first failure of a device's work, and the waiters that must be told. */
export class Failure {
  #error: TopKError | undefined;
  readonly #waiting = new Set<(error: TopKError) => void>();

  get error(): TopKError | undefined {
    return this.#error;
  }

  /** True the first time. */
  set(error: TopKError): boolean {
    if (this.#error !== undefined) return false;
    this.#error = error;
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
    return true;
  }

  throwIfFailed(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** The promise, or a rejection as soon as anything fails: an engine may leave promises of a lost device pending. */
  guard<T>(promise: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#error !== undefined) {
        promise.catch(() => {});
        reject(this.#error);
        return;
      }
      this.#waiting.add(reject);
      const leave = (): boolean => this.#waiting.delete(reject);
      promise.then(
        (value) => {
          leave();
          resolve(value);
        },
        (error) => {
          leave();
          reject(error);
        },
      );
    });
  }
}

/** The failure that an error scope caught. */
export function scopeError(invalid: GPUError | null, exhausted: GPUError | null): TopKError | undefined {
  if (exhausted !== null) {
    return new TopKError('OUT_OF_MEMORY', `webgpu: ${exhausted.message}`, {
      fix: 'Use a smaller queryChunk or budgetBytes, or a shorter input, then create a new backend',
    });
  }
  if (invalid !== null) return new TopKError('ENGINE_FAILURE', `webgpu: ${invalid.message}`);
  return undefined;
}
