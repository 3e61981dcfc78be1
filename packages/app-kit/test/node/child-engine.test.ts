import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ChildEngine } from '../../src/node/child-engine.js';
import { buildModule } from '../support/build-module.js';
import type { EchoContract } from '../support/echo-engine.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const folder = temporaryFolder();
const advice = { outOfMemory: 'Take less', crashed: 'Try again' };
const engines: ChildEngine<EchoContract>[] = [];

let module: URL;
beforeAll(async () => {
  module = pathToFileURL(await buildModule('echo-engine', folder));
});
afterAll(async () => {
  for (const engine of engines) await engine.dispose();
});

function start(): ChildEngine<EchoContract> {
  const engine = new ChildEngine<EchoContract>(module, advice);
  engines.push(engine);
  return engine;
}

test('calls are answered one after the other, with their events', async () => {
  const engine = start();
  for (const text of ['ab', 'xyz']) {
    const events: number[] = [];
    expect(await engine.call('echo', text, { onEvent: (event) => events.push(event) })).toBe(text);
    expect(events).toEqual([...text].map((_, at) => at));
  }
});

test('an error of the child is a ReportedError here, and the child goes on', async () => {
  const engine = start();
  await expect(engine.call('fail', null)).rejects.toMatchObject({
    name: 'ReportedError',
    report: { code: 'DOES_NOT_FIT', message: 'too large.', fix: 'Use less' },
  });
  expect(await engine.call('echo', 'still here')).toBe('still here');
});

test('peak memory is that of the child', async () => {
  const held = 128 * 2 ** 20;
  expect(await start().call('hold', held)).toBeGreaterThan(held);
  expect(await start().call('hold', 1)).toBeLessThan(held);
});

test('an exit is an ENGINE_FAILURE with the last lines of its standard error, for later calls too', async () => {
  const engine = start();
  for (const attempt of ['exit', 'echo'] as const) {
    const asked = attempt === 'exit' ? engine.call('exit', 3) : engine.call('echo', 'x');
    await expect(asked).rejects.toMatchObject({
      code: 'ENGINE_FAILURE',
      message: expect.stringMatching(/exit code 3: last words/),
      fix: 'Try again',
    });
  }
});

test('SIGKILL is what the kernel sends where memory ends', async () => {
  await expect(start().call('kill', 'SIGKILL')).rejects.toMatchObject({
    code: 'OUT_OF_MEMORY',
    fix: 'Take less',
  });
});

test('an abort ends a child that hears nothing', async () => {
  const engine = start();
  const controller = new AbortController();
  const { signal } = controller;
  const onEvent = (): void => void setTimeout(() => controller.abort(), 200);
  await expect(engine.call('hang', null, { signal, onEvent })).rejects.toMatchObject({ name: 'AbortError' });
  await engine.dispose();
  await expect(engine.call('echo', 'x')).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
});

test('an abort before the call is one too', async () => {
  const signal = AbortSignal.abort();
  await expect(start().call('echo', 'x', { signal })).rejects.toBe(signal.reason);
});
