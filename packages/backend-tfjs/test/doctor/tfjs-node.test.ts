import { createRequire } from 'node:module';
import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { expect } from 'vitest';
import { doctor, type Tf } from '../../src/index.js';

optional('tfjs-node: TensorFlow on the CPU, all peers', tfjsNodeAvailability(), async () => {
  const tf = loadTfjsNode<Tf>();
  const before = tf.memory().numTensors;
  const report = await doctor({ tf });
  expect(report).toMatchObject({
    ok: true,
    problems: [],
    engine: 'tensorflow',
    device: { kind: 'cpu', description: 'CPU, TensorFlow 2.21.0', facts: { package: 'tfjs-node' } },
    versions: { 'tfjs-node': '4.22.0', 'tfjs-core': '4.22.0', 'tfjs-layers': '4.22.0' },
  });
  expect(report.engines[0]).toEqual({ name: 'tensorflow', priority: 3, state: 'running' });
  expect(report.peers.every(({ found }) => found)).toBe(true);
  expect(tf.memory().numTensors).toBe(before);
});

optional('tfjs-node on Node 23 and later: says what to define', tfjsNodeAvailability(), async () => {
  const tf = loadTfjsNode<Tf>();
  const util = createRequire(import.meta.url)('node:util') as { isNullOrUndefined: unknown };
  const { isNullOrUndefined } = util;
  // As these versions of Node have it.
  util.isNullOrUndefined = undefined;
  try {
    const { ok, problems } = await doctor({ tf });
    expect(ok).toBe(false);
    expect(problems).toMatchObject([
      { code: 'NODE_UTIL', severity: 'error', fix: expect.stringContaining('isNullOrUndefined ??=') },
    ]);
  } finally {
    util.isNullOrUndefined = isNullOrUndefined;
  }
  expect((await doctor({ tf })).ok).toBe(true);
});
