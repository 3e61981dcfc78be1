/** How long a run may go on before timers and events get their turn. */
const MOST_MILLISECONDS = 20;

/** What a turn of the event loop is waited for with: Node's way, or that of browsers. */
export interface TurnWays {
  readonly setImmediate?: ((call: () => void) => unknown) | undefined;
  readonly MessageChannel: new () => { readonly port1: Port; readonly port2: Port };
}

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/**
 * Makes room for timers and events between steps. Where a backend computes at once, nothing in a step waits for more
 * than a promise: no timer would fire, so that no signal could be aborted and no Ctrl-C heard until the run ends. Where a
 * device is waited for, events have had their turn already, and this waits for nothing.
 */
export class EventTurns {
  readonly #ways: TurnWays;
  #last = Date.now();
  /** Tells when they had it. */
  readonly #turns = setInterval(() => {
    this.#last = Date.now();
  }, MOST_MILLISECONDS / 2);

  constructor(ways: TurnWays = globalThis as unknown as TurnWays) {
    this.#ways = ways;
  }

  async giveWay(): Promise<void> {
    if (Date.now() - this.#last < MOST_MILLISECONDS) return;
    await turn(this.#ways);
    this.#last = Date.now();
  }

  dispose(): void {
    clearInterval(this.#turns);
  }
}

/** Not by a timer: pages of a browser that are not seen get those once a second. */
function turn({ setImmediate, MessageChannel }: TurnWays): Promise<void> {
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
