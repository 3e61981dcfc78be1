import * as tf from '@tensorflow/tfjs-core';
import { beforeEach, expect, test, vi } from 'vitest';
import { doctor } from '../../src/index.js';

// tf itself warns of an engine that does not start, and of the one in plain JavaScript.
beforeEach(() => {
  vi.spyOn(console, 'warn').mockImplementation(() => {});
  return () => vi.restoreAllMocks();
});

// In this order: what is registered or started once stays that.
test('without tf it examines the tfjs-core that can be imported; an engine is what is missing first', async () => {
  for (const report of [await doctor(), await doctor({ tf })]) {
    expect(report.ok).toBe(false);
    expect(report.problems).toMatchObject([
      { code: 'NO_ENGINE', severity: 'error', fix: expect.stringContaining('@tensorflow/tfjs-backend-wasm') },
    ]);
    expect(report.versions).toEqual({ 'tfjs-core': '4.22.0' });
    expect(report.engines).toEqual([]);
    expect(report.engine).toBeUndefined();
    expect(report.peers).toEqual([
      {
        name: '@tensorflow/tfjs-core',
        range: '^4.22.0',
        found: true,
        version: '4.22.0',
        neededFor: 'everything',
      },
      {
        name: '@tensorflow/tfjs-layers',
        range: '^4.22.0',
        found: false,
        neededFor: "topKLayers and convertLayersModel of '@topk-attention/tfjs/layers' only",
      },
    ]);
  }
});

test.each([
  ['null', null],
  ['a number', 4],
  ['another module', { tensor: () => {} }],
])('%s in place of tf is a problem, not an error', async (_what, value) => {
  const report = await doctor({ tf: value as unknown as typeof tf });
  expect(report.ok).toBe(false);
  expect(report.problems).toMatchObject([
    { code: 'INVALID_TF', severity: 'error', fix: expect.stringContaining('@tensorflow/tfjs') },
  ]);
});

test('an engine that does not start is named with the reason', async () => {
  tf.registerBackend(
    'broken',
    () => {
      throw new Error('no driver here');
    },
    9,
  );
  const { ok, problems, engines } = await doctor({ tf });
  expect(ok).toBe(false);
  expect(engines).toEqual([{ name: 'broken', priority: 9, state: 'registered' }]);
  expect(problems).toMatchObject([
    { code: 'ENGINE_NOT_READY', severity: 'error', message: expect.stringContaining('broken') },
  ]);
});

test('an engine that was imported but not waited for is started, and said to be', async () => {
  await import('@tensorflow/tfjs-backend-cpu');
  const { ok, engine, problems } = await doctor({ tf });
  expect(problems.map(({ code, severity }) => [code, severity])).toEqual([
    ['ENGINE_NOT_READY', 'warning'],
    ['SLOW_ENGINE', 'warning'],
  ]);
  expect({ ok, engine }).toEqual({ ok: true, engine: 'cpu' });
});

test('cpu: runs, in plain JavaScript', async () => {
  const before = tf.memory().numTensors;
  const { ok, engine, engines, device, problems } = await doctor({ tf });
  expect({ ok, engine }).toEqual({ ok: true, engine: 'cpu' });
  expect(engines).toEqual([
    { name: 'broken', priority: 9, state: 'registered' },
    { name: 'cpu', priority: 1, state: 'running' },
  ]);
  expect(device).toEqual({ kind: 'cpu', description: 'CPU, plain JavaScript', facts: {} });
  expect(problems).toMatchObject([
    { code: 'SLOW_ENGINE', message: expect.stringContaining('also registered: broken') },
  ]);
  expect(tf.memory().numTensors).toBe(before);
});

test('a tf that was bundled without a kernel does not compute', async () => {
  tf.unregisterKernel('TopK', 'cpu');
  const { ok, problems } = await doctor({ tf });
  expect(ok).toBe(false);
  expect(problems).toContainEqual(
    expect.objectContaining({ code: 'ENGINE_FAILURE', message: expect.stringContaining("'TopK'") }),
  );
});

test('another version of tf is a warning', async () => {
  const { problems } = await doctor({ tf: { ...tf, version_core: '3.21.0' } as unknown as typeof tf });
  expect(problems).toContainEqual(
    expect.objectContaining({ code: 'UNSUPPORTED_VERSION', message: expect.stringContaining('3.21.0') }),
  );
});

test('with tfjs-layers beside it, both peers are there', async () => {
  const layers = await import('@tensorflow/tfjs-layers');
  const { peers } = await doctor({ tf: { ...tf, ...layers, default: undefined } as unknown as typeof tf });
  expect(peers.map(({ found, version }) => [found, version])).toEqual([
    [true, '4.22.0'],
    [true, '4.22.0'],
  ]);
});
