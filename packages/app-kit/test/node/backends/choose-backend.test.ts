import { expect, test } from 'vitest';
import { chooseBackend } from '../../../src/node/backends/choose-backend.js';

test.each([
  [{ backend: 'reference' }, { backend: 'reference' }, /^reference backend/],
  [
    { backend: 'onnxruntime', threads: 1 },
    { backend: 'onnxruntime' },
    /^ONNX Runtime \(onnxruntime-node \S+\), cpu, 1 thread, /,
  ],
  [{ backend: 'tfjs', engine: 'cpu' }, { backend: 'tfjs', engine: 'cpu' }, /^TensorFlow\.js \S+, cpu /],
  [{ backend: 'tfjs' }, { backend: 'tfjs', engine: 'wasm' }, /^TensorFlow\.js \S+, wasm /],
] as const)('%o', async (settings, info, description) => {
  const chosen = await chooseBackend(settings);
  expect(chosen.info).toEqual({ ...info, description: expect.stringMatching(description) });
  expect(chosen.gpuBytes).toBeUndefined();
  expect(chosen.backend.name).toBe('engine' in info ? `${info.backend}-${info.engine}` : info.backend);
  await chosen.backend.dispose();
});
