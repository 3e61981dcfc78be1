import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { doctor } from '../../src/index.js';

optional('webgpu: adapter and limits; a software GPU is a warning', softwareGpuAvailability(), async () => {
  const [tf] = await Promise.all([
    import('@tensorflow/tfjs-core'),
    import('@tensorflow/tfjs-backend-webgpu'),
  ]);
  await tf.setBackend('webgpu');
  const { ok, engine, device, problems } = await doctor({ tf });
  expect({ ok, engine }).toEqual({ ok: true, engine: 'webgpu' });
  expect(device).toMatchObject({
    kind: 'gpu',
    isSoftware: true,
    description: expect.stringMatching(/swiftshader/i),
  });
  expect(device?.facts.maxBufferSize).toBeGreaterThan(2 ** 27);
  expect(problems).toMatchObject([{ code: 'SOFTWARE_GPU', severity: 'warning' }]);
});
