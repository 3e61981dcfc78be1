import { answerCall, type Contract, type Handlers, type ToEngine } from './protocol.js';

/** What of a worker's global scope is used. */
export interface WorkerScope {
  postMessage(message: unknown): void;
  addEventListener(kind: 'message', listener: (event: { readonly data: unknown }) => void): void;
}

/** The engine's end of a `WorkerEngine`: answers the page's calls. `scope` is the worker's `globalThis`. */
export function serveWorker<C extends Contract<C>>(handlers: Handlers<C>, scope: WorkerScope): void {
  scope.addEventListener('message', ({ data }) => {
    void answerCall(handlers, data as ToEngine<C>, (reply) => scope.postMessage(reply));
  });
}
