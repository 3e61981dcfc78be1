import { expect, test } from 'vitest';
import { doctor } from '../../src/index.js';
import { wasmTf } from '../support/engines.js';

test('wasm: SIMD and threads', async () => {
  const tf = await wasmTf();
  const before = tf.memory().numTensors;
  expect(await doctor({ tf })).toMatchObject({
    ok: true,
    problems: [],
    engine: 'wasm',
    engines: [{ name: 'wasm', state: 'running' }],
    device: {
      kind: 'cpu',
      description: 'CPU, WebAssembly with SIMD, 1 thread',
      facts: { simd: true, threads: 1 },
    },
  });
  expect(tf.memory().numTensors).toBe(before);
});
