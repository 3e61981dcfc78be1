// Runs in the page: calls of engines in workers, and what came of them.
import { WorkerEngine, type WorkerLike } from '../../src/worker-engine.js';
import type { EchoContract } from './contract.js';

declare const Worker: new (url: URL, options: { readonly type: 'module' }) => WorkerLike;

export interface Outcome {
  readonly echoes: readonly string[];
  readonly events: readonly number[];
  readonly reported: string;
  readonly aborted: string;
  readonly crashed: string;
  readonly afterwards: readonly string[];
}

const start = (): WorkerEngine<EchoContract> =>
  new WorkerEngine(new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }));

const messageOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'nothing was thrown',
    (error: unknown) => String(error),
  );

async function run(): Promise<Outcome> {
  const engine = start();
  const events: number[] = [];
  const onEvent = (event: number): number => events.push(event);
  const first = await engine.call('echo', 'ab', { onEvent });
  const reported = await messageOf(engine.call('fail', null));
  const echoes = [first, await engine.call('echo', 'xyz')];
  const abort = new AbortController();
  const hanging = engine.call('hang', null, { signal: abort.signal, onEvent: () => abort.abort('enough') });
  const aborted = await messageOf(hanging);
  const other = start();
  const crashed = await messageOf(other.call('crash', null));
  const afterwards = [engine, other].map((each) => messageOf(each.call('echo', 'x')));
  return { echoes, events, reported, aborted, crashed, afterwards: await Promise.all(afterwards) };
}

Object.assign(globalThis, { run });
