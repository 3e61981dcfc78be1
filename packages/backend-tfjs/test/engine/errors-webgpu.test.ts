import { add, tensor, zeros } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { createWebGpuTestBackend, webGpuTf } from '../support/software-gpu.js';

const software = softwareGpuAvailability();

optional('an error that tfjs does not look at rejects what it spoiled', software, async () => {
  const backend = await createWebGpuTestBackend();
  const tf = await webGpuTf();
  const x = tensor(backend, [1, 2, 3]);
  expect([...(await add(x, 1).data())]).toEqual([2, 3, 4]);
  // 4 GiB, more than a buffer of any device here: tfjs goes on, and the sum of nothing would be 0.
  const sum = tf.tidy(() => tf.sum(tf.fill([2 ** 15, 2 ** 15], 1)));
  expect([...(await sum.data())]).toEqual([0]);
  await expect(add(x, 1).data()).rejects.toMatchObject({ name: 'TopKError', code: 'ENGINE_FAILURE' });
  const again = await createWebGpuTestBackend();
  expect([...(await add(zeros(again, [2]), 1).data())]).toEqual([1, 1]);
});

// Last: nothing runs on the engine afterwards.
optional('a lost device rejects, also what is asked for later', software, async () => {
  const backend = await createWebGpuTestBackend();
  const tf = await webGpuTf();
  const x = tensor(backend, [1, 2, 3]);
  const y = add(x, 1);
  const engine: object = tf.backend();
  if (!('device' in engine)) throw new Error('tfjs keeps its device elsewhere');
  (engine.device as GPUDevice).destroy();
  await expect(y.data()).rejects.toMatchObject({ name: 'TopKError', code: 'DEVICE_LOST' });
  await expect(add(x, 2).data()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  const later = await createWebGpuTestBackend();
  await expect(add(zeros(later, [2]), 1).data()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
});
