import { TopKError } from '@topk-attention/core';
import { ReportedError } from './errors.js';
import type { Contract, FromEngine, ToEngine } from './protocol.js';

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

export interface WorkerCallOptions<Event> {
  /** An abort ends the worker at once. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: Event) => void;
}

/**
 * An engine in a Web Worker: the page stays responsive while it computes, and an abort takes effect at once. The engine's
 * end is `serveWorker`. Browsers do not tell the memory of one worker; an engine may report its own.
 */
export class WorkerEngine<C extends Contract<C>> {
  readonly #worker: WorkerLike;
  #isGone = false;

  /** @param worker it belongs to this engine from now on */
  constructor(worker: WorkerLike) {
    this.#worker = worker;
  }

  /**
   * Asks one thing and waits for its result; the one before must have been answered.
   *
   * @throws ReportedError what the engine reports; TopKError ENGINE_FAILURE for an error outside of a call, such as a script
   * that does not load; DISPOSED after the worker has ended; the AbortSignal's reason when aborted, and the worker is gone.
   */
  call<N extends keyof C>(
    name: N,
    argument: C[N]['argument'],
    { signal, onEvent }: WorkerCallOptions<C[N]['event']> = {},
  ): Promise<C[N]['result']> {
    const worker = this.#worker;
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        worker.removeEventListener('message', onMessage);
        worker.removeEventListener('error', onError);
        worker.removeEventListener('messageerror', onError);
        signal?.removeEventListener('abort', onAbort);
        finish();
      };
      const onMessage = ({ data }: WorkerEvent): void => {
        const reply = data as FromEngine<C, N>;
        if ('event' in reply) onEvent?.(reply.event);
        else if ('error' in reply) settle(() => reject(new ReportedError(reply.error)));
        else settle(() => resolve(reply.result));
      };
      const onError = ({ message }: WorkerEvent): void => {
        this.dispose();
        settle(() => reject(failure('ENGINE_FAILURE', 'failed', message ?? 'an error without a message')));
      };
      const onAbort = (): void => {
        this.dispose();
        settle(() => reject(signal?.reason));
      };
      worker.addEventListener('message', onMessage);
      worker.addEventListener('error', onError);
      worker.addEventListener('messageerror', onError);
      signal?.addEventListener('abort', onAbort, { once: true });
      const message: ToEngine<C, N> = { call: name, argument };
      if (signal?.aborted) onAbort();
      else if (this.#isGone) settle(() => reject(failure('DISPOSED', 'has ended', 'a call')));
      else worker.postMessage(message);
    });
  }

  /** Ends the worker; idempotent. */
  dispose(): void {
    this.#isGone = true;
    this.#worker.terminate();
  }
}

function failure(code: 'DISPOSED' | 'ENGINE_FAILURE', what: string, got: string): TopKError {
  return new TopKError(code, `the worker that runs the engine ${what}`, { got, fix: 'Start another one' });
}
