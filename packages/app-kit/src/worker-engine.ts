import { TopKError } from '@topk-attention/core';
import { ReportedError } from './errors.js';
import type { CallOptions, Contract, FromEngine, ToEngine } from './protocol.js';

/** What of a Web Worker is used. */
export interface WorkerLike {
  postMessage(message: unknown): void;
  addEventListener(kind: 'message' | 'error' | 'messageerror', listener: (event: WorkerEvent) => void): void;
  removeEventListener(
    kind: 'message' | 'error' | 'messageerror',
    listener: (event: WorkerEvent) => void,
  ): void;
  terminate(): void;
}

/** A message of a worker, or an error that ended it. */
export interface WorkerEvent {
  readonly data?: unknown;
  readonly message?: string;
}

/**
 * An engine in a Web Worker: the page stays responsive while it computes, and an abort takes effect at once. The engine's
 * end is `serveWorker`. Browsers do not tell the memory of one worker; an engine may report its own.
 */
export class WorkerEngine<C extends Contract<C>> {
  readonly #worker: WorkerLike;
  /** Why the worker has ended. */
  #end: TopKError | undefined;
  /** Ends the call in progress. */
  #fail: ((reason: unknown) => void) | undefined;

  /** @param worker it belongs to this engine from now on */
  constructor(worker: WorkerLike) {
    this.#worker = worker;
    const onError = ({ message = 'an error without a message' }: WorkerEvent): void =>
      this.#stop(failure('ENGINE_FAILURE', 'failed', message));
    // Between calls too: a script may fail to load before the first one.
    worker.addEventListener('error', onError);
    worker.addEventListener('messageerror', onError);
  }

  /**
   * Makes one call and waits for its result; the previous call must have been answered.
   *
   * @throws ReportedError what the engine reports; TopKError ENGINE_FAILURE for an error outside of a call, such as a script
   * that does not load, now or before; DISPOSED after the worker has been ended; the AbortSignal's reason when aborted, and
   * the worker is gone; whatever sending the argument throws.
   */
  call<N extends keyof C>(
    name: N,
    argument: C[N]['argument'],
    { signal, onEvent }: CallOptions<C[N]['event']> = {},
  ): Promise<C[N]['result']> {
    const worker = this.#worker;
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        worker.removeEventListener('message', onMessage);
        signal?.removeEventListener('abort', onAbort);
        this.#fail = undefined;
        finish();
      };
      const fail = (reason: unknown): void => settle(() => reject(reason));
      const onMessage = ({ data }: WorkerEvent): void => {
        const reply = data as FromEngine<C, N>;
        if ('event' in reply) onEvent?.(reply.event);
        else if ('error' in reply) fail(new ReportedError(reply.error));
        else settle(() => resolve(reply.result));
      };
      const onAbort = (): void => {
        fail(signal?.reason);
        this.dispose();
      };
      this.#fail = fail;
      worker.addEventListener('message', onMessage);
      signal?.addEventListener('abort', onAbort, { once: true });
      const message: ToEngine<C, N> = { call: name, argument };
      if (signal?.aborted) return onAbort();
      if (this.#end !== undefined) return fail(this.#end);
      try {
        worker.postMessage(message);
      } catch (error) {
        fail(error);
      }
    });
  }

  /** Ends the worker, and the call in progress with DISPOSED; idempotent. */
  dispose(): void {
    this.#stop(failure('DISPOSED', 'has ended', 'a call'));
  }

  #stop(reason: TopKError): void {
    this.#end ??= reason;
    this.#worker.terminate();
    this.#fail?.(reason);
  }
}

function failure(code: 'DISPOSED' | 'ENGINE_FAILURE', what: string, got: string): TopKError {
  return new TopKError(code, `the worker that runs the engine ${what}`, { got, fix: 'Start another one' });
}
