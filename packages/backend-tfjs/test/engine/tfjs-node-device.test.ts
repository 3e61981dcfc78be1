import { evaluate, matmul, tensor } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { expect } from 'vitest';
import { createTfjsBackend, doctor, type Tf } from '../../src/index.js';

/** What tfjs-node says of its device. The TensorFlow under these tests has none: only the telling is changed. */
interface Telling {
  isUsingGpuDevice: boolean;
  isGPUPackage: boolean;
}

async function told(telling: Telling, work: (tf: Tf) => Promise<void>): Promise<void> {
  const tf = loadTfjsNode<Tf>();
  const own = tf.backend() as unknown as Telling;
  const { isUsingGpuDevice, isGPUPackage } = own;
  Object.assign(own, telling);
  try {
    await work(tf);
  } finally {
    Object.assign(own, { isUsingGpuDevice, isGPUPackage });
  }
}

optional('on the CPU: eager, equal bits', tfjsNodeAvailability(), async () => {
  const { capabilities } = await createTfjsBackend({ tf: loadTfjsNode<Tf>() });
  expect(capabilities).toMatchObject({ execution: 'eager', deterministicScatter: true });
});

optional('on a CUDA device: waited for, and no promise of equal bits', tfjsNodeAvailability(), () =>
  told({ isUsingGpuDevice: true, isGPUPackage: true }, async (tf) => {
    const backend = await createTfjsBackend({ tf });
    expect(backend.capabilities).toMatchObject({
      execution: 'recorded',
      deterministicScatter: { no: expect.stringContaining('CUDA') },
    });
    const x = tensor(backend, [1, 2, 3, 4], [2, 2]);
    const product = matmul(x, x);
    await evaluate(product);
    expect(Array.from(await product.data())).toEqual([7, 10, 15, 22]);
    await backend.dispose();
    expect((await doctor({ tf })).device).toMatchObject({
      kind: 'gpu',
      description: 'GPU (CUDA), TensorFlow 2.21.0',
    });
  }),
);

optional('tfjs-node-gpu that finds no CUDA: doctor() says which it wants', tfjsNodeAvailability(), () =>
  told({ isUsingGpuDevice: false, isGPUPackage: true }, async (tf) => {
    const { ok, device, problems } = await doctor({ tf });
    expect(ok).toBe(true);
    expect(device).toMatchObject({ kind: 'cpu', facts: { package: 'tfjs-node-gpu' } });
    expect(problems).toMatchObject([
      { code: 'NO_CUDA', severity: 'warning', fix: expect.stringContaining('cuDNN 8') },
    ]);
  }),
);
