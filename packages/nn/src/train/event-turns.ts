/** How long a run may go on before timers and events get their turn. */
const MOST_MILLISECONDS = 20;

/**
 * Makes room for timers and events between steps. Where a backend computes at once, nothing in a step waits for more
 * than a promise: no timer would fire, so that no signal could be aborted and no Ctrl-C heard until the run ends. Where a
 * device is waited for, events have had their turn already, and this waits for nothing.
 */
export class EventTurns {
  #last = Date.now();
  /** Tells when they had it. */
  readonly #turns = setInterval(() => {
    this.#last = Date.now();
  }, MOST_MILLISECONDS / 2);

  async giveWay(): Promise<void> {
    if (Date.now() - this.#last < MOST_MILLISECONDS) return;
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    this.#last = Date.now();
  }

  dispose(): void {
    clearInterval(this.#turns);
  }
}
