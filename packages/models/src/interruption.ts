import { TopKError } from '@topk-attention/core';

/** Time after which a loop lets timers and events through. */
const BREATH_MILLISECONDS = 20;

/**
 * The places where a long call can be stopped. An eager backend never waits by itself, so without a breath now and then
 * no timer could ever fire and no signal ever be aborted.
 */
export class Interruption {
  readonly #what: string;
  readonly #signal: AbortSignal | undefined;
  #lastBreath = Date.now();

  constructor(what: string, signal: AbortSignal | undefined) {
    this.#what = what;
    this.#signal = signal;
    this.check();
  }

  /** @throws TopKError ABORTED */
  check(): void {
    if (this.#signal?.aborted !== true) return;
    throw new TopKError('ABORTED', `${this.#what} was aborted`, { cause: this.#signal.reason });
  }

  /** @throws TopKError ABORTED */
  async breathe(): Promise<void> {
    if (Date.now() - this.#lastBreath >= BREATH_MILLISECONDS) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#lastBreath = Date.now();
    }
    this.check();
  }
}
