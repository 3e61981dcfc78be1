import { explain } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { limitsOf } from '../../src/engine/limits.js';
import { traitsOf } from '../../src/engine/traits.js';
import { createTfjsBackend, engineOf } from '../../src/index.js';
import { cpuTf } from '../support/engines.js';

const tf = await cpuTf();

test('an engine that is not known computes by ops of tf alone, and is waited for', () => {
  const traits = traitsOf('no such engine');
  expect(traits).toMatchObject({ isEager: false, readsAtOnce: false, isOnHost: false, product: 'tf.matMul' });
  expect(Object.values(traits)).not.toContain('loop');
  expect(limitsOf(tf, traits).boolBytes).toBeUndefined();
});

test('such an engine runs, nothing fused', async () => {
  const cpu = tf.backend();
  tf.registerBackend('another', () => cpu);
  for (const kernel of tf.getKernelsForBackend('cpu'))
    tf.registerKernel({ ...kernel, backendName: 'another' });
  await tf.setBackend('another');
  const backend = await createTfjsBackend({ tf });
  expect(backend.capabilities).toMatchObject({ execution: 'recorded', deterministicScatter: true });
  const shape = [1, 1, 4, 2];
  expect(explain(backend, { q: shape, k: shape, v: shape }, { k: 2 }).toString()).toContain(
    'engine another: its results cannot be read synchronously',
  );
  const x = backend.upload(Float32Array.of(3, 1, 2, Number.NEGATIVE_INFINITY), [1, 4], 'f32');
  const { values, indices } = backend.topK(x, 4);
  expect(Array.from(await backend.read(values))).toEqual([3, 1, 2, Number.NEGATIVE_INFINITY]);
  expect(Array.from(await backend.read(indices))).toEqual([0, 1, 2, -1]);
  await tf.setBackend('cpu');
});

test('on a CUDA device TensorFlow is waited for, adds in any order and selects by tf.topk', () => {
  const [onCpu, onCuda] = [traitsOf('tensorflow'), traitsOf('tensorflow', 'cuda')];
  expect(onCpu).toMatchObject({ isEager: true, runsTensorFlowOps: true, deterministicScatter: true });
  expect(onCuda).toMatchObject({
    isEager: false,
    readsAtOnce: true,
    runsTensorFlowOps: false,
    topK: 'tf.topk',
    deterministicScatter: { no: expect.stringContaining('CUDA') },
  });
  expect(traitsOf('cpu', 'cuda')).toBe(traitsOf('cpu'));
});

test('the engine that runs has its traits', () => {
  expect(engineOf(tf).traits).toBe(traitsOf('cpu'));
});
