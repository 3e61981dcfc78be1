import type { Backend, DeviceLimits } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describeConformance } from '../src/index.js';

for (const floatStorage of ['f32', 'f64'] as const) {
  for (const fused of [true, false]) {
    await describeConformance({
      name: `reference, ${floatStorage}, ${fused ? 'fused' : 'composed'}`,
      createBackend: () => createReferenceBackend({ floatStorage, fused }),
    });
  }
}

/** The composed path as it runs on engines with other limits: every branch of core on an engine that is right. */
function withLimits(limits: Partial<DeviceLimits>): Backend {
  const backend = createReferenceBackend({ fused: false });
  const { capabilities } = backend;
  return { ...backend, capabilities: { ...capabilities, limits: { ...capabilities.limits, ...limits } } };
}

await describeConformance({
  name: 'reference, composed, two-level selection in blocks of 3',
  createBackend: () => withLimits({ twoLevel: { minKeys: 6, blockSize: 3 } }),
});
await describeConformance({
  name: 'reference, composed, no writing in place, dense second product, chunks of at most 2',
  createBackend: () => withLimits({ inPlace: false, gatherCost: 1e9, maxQueryChunk: 2 }),
});
