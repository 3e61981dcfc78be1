import { TopKError } from '@topk-attention/core';

/** How long a loop may run before it yields to the event loop. */
const YIELD_MILLISECONDS = 20;

/**
 * The points at which a long call can be stopped. An eager backend never waits by itself: without yielding to the event
 * loop no timer could fire, and so no signal could be aborted.
 */
export class Interruption {
  readonly #what: string;
  readonly #signal: AbortSignal | undefined;
  readonly #isDisposed: () => boolean;
  #lastYield = Date.now();

  /** @param isDisposed whether the model that the call uses has been disposed of */
  constructor(what: string, signal: AbortSignal | undefined, isDisposed = (): boolean => false) {
    this.#what = what;
    this.#signal = signal;
    this.#isDisposed = isDisposed;
    this.check();
  }

  /** @throws TopKError ABORTED, DISPOSED */
  check(): void {
    if (this.#isDisposed()) {
      throw new TopKError('DISPOSED', `${this.#what}: the model was disposed of during the call`);
    }
    if (this.#signal?.aborted !== true) return;
    throw new TopKError('ABORTED', `${this.#what} was aborted`, { cause: this.#signal.reason });
  }

  /** Lets timers and events run if it is time to, then checks. @throws TopKError ABORTED, DISPOSED */
  async yieldToEvents(): Promise<void> {
    if (Date.now() - this.#lastYield >= YIELD_MILLISECONDS) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#lastYield = Date.now();
    }
    this.check();
  }
}
