import { grad, sum, type Tensor, tensor, topKAttention } from '@topk-attention/core';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { createWebGpuTestBackend, webGpuTf } from '../support/software-gpu.js';

const software = softwareGpuAvailability();
const thorough = software.available ? thoroughAvailability() : software;

optional('neither live bytes nor tensors of tf grow over calls', thorough, async () => {
  const backend = await createWebGpuTestBackend();
  const tf = await webGpuTf();
  const up = (): Tensor =>
    tensor(
      backend,
      Float32Array.from({ length: 40 }, (_, i) => Math.sin(i)),
      [1, 2, 5, 4],
    );
  const inputs = { q: up(), k: up(), v: up() };
  const gradients = grad((p: { q: Tensor; k: Tensor; v: Tensor }) =>
    sum(topKAttention(p.q, p.k, p.v, { k: 2 })),
  );
  const seen = new Set<string>();
  for (let call = 0; call < 30; call++) {
    const made = gradients(inputs);
    await made.q.data();
    for (const one of Object.values(made)) one.dispose();
    seen.add(`${backend.memory().live} bytes, ${tf.memory().numTensors} tensors`);
  }
  expect([...seen]).toHaveLength(1);
});

optional('a long product has equal bits every time, and no NaN of a neighbour', software, async () => {
  const backend = await createWebGpuTestBackend();
  const up = (shape: number[], of: (i: number) => number): ReturnType<typeof backend.upload> => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    return backend.upload(
      Float32Array.from({ length: size }, (_, i) => of(i)),
      shape,
      'f32',
    );
  };
  // tfjs would add the parts of such a sum with atomics.
  const [a, b] = [
    up([1, 12, 2100], (i) => Math.sin(i)),
    up([1, 2100, 13], (i) => Math.cos(i) * 10 ** (i % 5)),
  ];
  const first = await backend.read(backend.matmul(a, b, false, false));
  for (let run = 0; run < 3; run++) {
    expect(await backend.read(backend.matmul(a, b, false, false))).toEqual(first);
  }
  const c = up([2, 18, 33], () => 1);
  const d = up([2, 33, 20], (i) => (i >= 33 * 20 && i % 20 === 19 ? Number.NaN : 1));
  const products = await backend.read(backend.matmul(c, d, false, false));
  expect(products.findIndex((value) => Number.isNaN(value))).toBe(18 * 20 + 19);
  expect(products.filter((value) => Number.isNaN(value))).toHaveLength(18);
});

optional('numbers of 25 bits stay exact with others that were made on the host', software, async () => {
  const backend = await createWebGpuTestBackend();
  const wide = backend.upload(Int32Array.of(2 ** 24 + 1, -(2 ** 30) - 1), [2], 'i32');
  const sums = backend.binary('add', wide, backend.fill(2, [], 'i32'));
  const rows = backend.concat([wide, backend.reshape(sums, [2])], 0);
  expect(await backend.read(rows)).toEqual(
    Int32Array.of(2 ** 24 + 1, -(2 ** 30) - 1, 2 ** 24 + 3, -(2 ** 30) + 1),
  );
  const computed = backend.topK(backend.upload(Float32Array.of(3, 1, 2), [3], 'f32'), 2).indices;
  expect(() => backend.binary('add', wide, computed)).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringMatching(/25 bits.*webgpu/s) }),
  );
});

optional('limits are those of the device', software, async () => {
  const { capabilities } = await createWebGpuTestBackend();
  const tf = await webGpuTf();
  const engine: object = tf.backend();
  if (!('device' in engine)) throw new Error('tfjs keeps its device elsewhere');
  const { maxBufferSize, maxStorageBufferBindingSize } = (engine.device as GPUDevice).limits;
  expect(capabilities.limits.maxBufferBytes).toBe(
    Math.min(2 ** 31, maxBufferSize, maxStorageBufferBindingSize),
  );
  expect(capabilities.limits.boolBytes).toBe(4);
});
