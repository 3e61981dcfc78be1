// What the engine does of its own accord: a worker that never answers will do.
import { expect, test } from 'vitest';
import { WorkerEngine, type WorkerEvent, type WorkerLike } from '../../src/worker-engine.js';
import type { EchoContract } from './contract.js';

function silentWorker() {
  const listeners = new Set<(event: WorkerEvent) => void>();
  const errorListeners = new Set<(event: WorkerEvent) => void>();
  const of = (kind: string) => (kind === 'message' ? listeners : errorListeners);
  const worker: WorkerLike = {
    postMessage: (message) => void structuredClone(message),
    addEventListener: (kind, listener) => void of(kind).add(listener),
    removeEventListener: (kind, listener) => void of(kind).delete(listener),
    terminate: () => {},
  };
  const failWith = (message: string): void => {
    for (const one of errorListeners) one({ message });
  };
  return { engine: new WorkerEngine<EchoContract>(worker), listeners, failWith };
}

test('a script that failed to load before the first call is an error of that call', async () => {
  const { engine, failWith, listeners } = silentWorker();
  failWith('no such script');
  await expect(engine.call('echo', 'x')).rejects.toMatchObject({
    code: 'ENGINE_FAILURE',
    got: 'no such script',
  });
  expect(listeners.size).toBe(0);
});

test('a call in progress ends with the worker', async () => {
  const { engine, listeners } = silentWorker();
  const calling = engine.call('hang', null);
  engine.dispose();
  await expect(calling).rejects.toMatchObject({ code: 'DISPOSED' });
  expect(listeners.size).toBe(0);
});

test('a call whose argument cannot be sent hears nothing of the next one', async () => {
  const { engine, listeners } = silentWorker();
  await expect(engine.call('echo', (() => {}) as never)).rejects.toMatchObject({ name: 'DataCloneError' });
  expect(listeners.size).toBe(0);
});
