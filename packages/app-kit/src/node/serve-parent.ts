import { once } from 'node:events';
import { answerCall, type Contract, type Handlers, type ToEngine } from '../protocol.js';

/** The engine's end of a `ChildEngine`: answers the parent's calls, and ends this process when the parent is gone. */
export async function serveParent<C extends Contract<C>>(handlers: Handlers<C>): Promise<never> {
  const send = process.send?.bind(process);
  if (send === undefined) throw new Error('this module runs as a child process only');
  // If sending fails, the parent is gone.
  process.on('message', (message: ToEngine<C>) => {
    void answerCall(handlers, message, (reply) => void send(reply, () => {}));
  });
  // A terminal sends its Ctrl-C to parent and child alike; the parent decides.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  await once(process, 'disconnect');
  // A killed parent waits for nobody, and an engine in the middle of a run would keep this process alive.
  process.exit(0);
}
