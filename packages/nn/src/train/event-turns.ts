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
    await turn();
    this.#last = Date.now();
  }

  dispose(): void {
    clearInterval(this.#turns);
  }
}

/** A turn of the event loop. Not by a timer: the pages of a browser that are not seen get those once a second. */
function turn(): Promise<void> {
  const { setImmediate, MessageChannel } = globalThis as unknown as {
    setImmediate?: (call: () => void) => unknown;
    MessageChannel: new () => { readonly port1: Port; readonly port2: Port };
  };
  return new Promise((resolve) => {
    if (setImmediate !== undefined) {
      setImmediate(resolve);
      return;
    }
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}
