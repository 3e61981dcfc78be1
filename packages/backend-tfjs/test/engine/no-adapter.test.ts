import { optional } from '@topk-attention/vitest-preset';
import { expect } from 'vitest';
import { createTfjsBackend } from '../../src/index.js';
import { cpuTf } from '../support/engines.js';

/** Dawn, asked for a GPU that no machine has. */
async function withoutAdapter(): Promise<boolean> {
  try {
    const { create, globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    const gpu = create(['adapter=no such adapter']);
    Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
    return true;
  } catch {
    return false;
  }
}

const isThere = await withoutAdapter();

optional(
  'WebGPU without a GPU: NO_DEVICE says so, and what else there is',
  { available: isThere, need: 'webgpu', reason: 'the webgpu package does not load' },
  async () => {
    const tf = await cpuTf();
    await import('@tensorflow/tfjs-backend-webgpu');
    await expect(createTfjsBackend({ tf, engine: 'webgpu' })).rejects.toMatchObject({
      code: 'NO_DEVICE',
      message: expect.stringContaining("tf's engine 'webgpu' does not start"),
      expected: 'a GPU with WebGPU',
      got: expect.stringMatching(/^no adapter: /),
      fix: expect.stringContaining("another engine, such as 'wasm' or 'cpu'"),
    });
    await tf.setBackend('cpu');
    expect((await createTfjsBackend({ tf })).name).toBe('tfjs-cpu');
  },
);
