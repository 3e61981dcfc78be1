/** Of the time waited so far: by how much an answer may come late. */
const SHARE = 1 / 64;
/** A timer of the system is no finer than this. */
const LEAST_SLEEP_MS = 0.05;
/** Other work of the event loop may have to wait for so long. */
const MOST_SLEEP_MS = 0.5;
/** A turn of the event loop that took longer had other work, and the next one may have it too. */
const BUSY_MS = 0.2;

/** What a turn of the event loop is waited for with. */
export interface EventLoop {
  /** Calls once, in the next turn. */
  next(call: () => void): void;
  /** Blocks the thread. */
  sleep(ms: number): void;
  now(): number;
}

/**
 * Dawn's binding for Node asks the device for news in every turn of the event loop while a promise of its own is open. That
 * keeps a core busy, which a software adapter needs itself, and leaves garbage in every turn, whose collections then
 * interrupt later work for 10 to 20 ms. So turns are drawn out by short sleeps, in proportion to the time waited so far.
 */
export class CalmWaiting {
  readonly #loop: EventLoop | undefined;
  #waits = 0;
  #isTurning = false;
  /** When the latest wait began. */
  #since = 0;
  /** When the latest turn ended. */
  #turned = 0;

  /** @param loop undefined: nothing is done */
  constructor(loop: EventLoop | undefined = nodeLoop()) {
    this.#loop = loop;
  }

  /** The promise itself, awaited calmly. */
  async during<T>(promise: Promise<T>): Promise<T> {
    const loop = this.#loop;
    if (loop === undefined) return promise;
    this.#waits++;
    this.#since = loop.now();
    this.#turned = this.#since;
    if (!this.#isTurning) {
      this.#isTurning = true;
      this.#turn(loop);
    }
    try {
      return await promise;
    } finally {
      this.#waits--;
    }
  }

  #turn(loop: EventLoop): void {
    loop.next(() => {
      if (this.#waits === 0) {
        this.#isTurning = false;
        return;
      }
      const now = loop.now();
      const sleep = Math.min(MOST_SLEEP_MS, SHARE * (now - this.#since));
      if (sleep >= LEAST_SLEEP_MS && now - this.#turned < BUSY_MS) loop.sleep(sleep);
      this.#turned = loop.now();
      this.#turn(loop);
    });
  }
}

/**
 * Node's. Pages and workers of a browser, also those of Electron that look like Node, do not poll. Where no memory is
 * shared, or a thread may not block, nothing is done either.
 */
function nodeLoop(): EventLoop | undefined {
  const { process, setImmediate, document, WorkerGlobalScope, performance } = globalThis as {
    process?: { versions?: { node?: string; bun?: string; deno?: string } };
    setImmediate?: (call: () => void) => unknown;
    document?: unknown;
    WorkerGlobalScope?: unknown;
    performance?: { now(): number };
  };
  const { node, bun, deno } = process?.versions ?? {};
  if (node === undefined || bun !== undefined || deno !== undefined) return undefined;
  if (document !== undefined || WorkerGlobalScope !== undefined) return undefined;
  if (setImmediate === undefined || performance === undefined) return undefined;
  try {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    const sleep = (ms: number): void => void Atomics.wait(cell, 0, 0, ms);
    sleep(0);
    return { next: (call) => void setImmediate(call), sleep, now: () => performance.now() };
  } catch {
    return undefined;
  }
}
