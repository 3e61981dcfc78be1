import type { Backend } from '@topk-attention/core';
import type { DeviceLimits } from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';

/** The composed path as it runs on engines with other limits: every branch of core on an engine that is right. */
function withLimits(limits: Partial<DeviceLimits>): Backend {
  const backend = createReferenceBackend({ fused: false });
  const { capabilities } = backend;
  return { ...backend, capabilities: { ...capabilities, limits: { ...capabilities.limits, ...limits } } };
}

/** As other engines have it, with the attention of the backend and with what core composes. */
export const usualSettings: Readonly<Record<string, () => Backend>> = {
  'reference, f32, fused': () => createReferenceBackend(),
  'reference, f32, composed': () => createReferenceBackend({ fused: false }),
};

/** Settings that few or no engines have. */
export const otherSettings: Readonly<Record<string, () => Backend>> = {
  'reference, f64, fused': () => createReferenceBackend({ floatStorage: 'f64' }),
  'reference, f64, composed': () => createReferenceBackend({ floatStorage: 'f64', fused: false }),
  'reference, composed, two-level selection in blocks of 3': () =>
    withLimits({ twoLevel: { minKeys: 6, blockSize: 3 } }),
  'reference, composed, no writing in place, dense second product, chunks of at most 2': () =>
    withLimits({ inPlace: false, gatherCost: 1e9, maxQueryChunk: 2 }),
};
