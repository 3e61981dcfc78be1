import { aValue, type OptionKind, TopKError } from '@topk-attention/core';

/** What the option `signal` of a call takes. */
export const aSignal: OptionKind<AbortSignal> = aValue(
  'an AbortSignal',
  (value) => typeof value === 'object' && value !== null && 'aborted' in value,
);

/** Time after which a loop lets timers and events through. */
const BREATH_MILLISECONDS = 20;

/**
 * The places where a long call can be stopped. An eager backend never waits by itself, so without a breath now and then
 * no timer could ever fire and no signal ever be aborted.
 */
export class Interruption {
  readonly #what: string;
  readonly #signal: AbortSignal | undefined;
  readonly #isDisposed: () => boolean;
  #lastBreath = Date.now();

  /** @param isDisposed whether what the call works on was disposed of meanwhile */
  constructor(what: string, signal: AbortSignal | undefined, isDisposed = (): boolean => false) {
    this.#what = what;
    this.#signal = signal;
    this.#isDisposed = isDisposed;
    this.check();
  }

  /** @throws TopKError ABORTED, DISPOSED */
  check(): void {
    if (this.#isDisposed())
      throw new TopKError('DISPOSED', `${this.#what}: the model was disposed of meanwhile`);
    if (this.#signal?.aborted !== true) return;
    throw new TopKError('ABORTED', `${this.#what} was aborted`, { cause: this.#signal.reason });
  }

  /** @throws TopKError ABORTED, DISPOSED */
  async breathe(): Promise<void> {
    if (Date.now() - this.#lastBreath >= BREATH_MILLISECONDS) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#lastBreath = Date.now();
    }
    this.check();
  }
}
