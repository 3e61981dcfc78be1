import type { DeviceLimits } from '@topk-attention/core/backend';
import { type DeviceFacts, isLarge } from './runtime/facts.js';

/** What core's planner may assume. Chunks of the composed path: large launches on a GPU, short ones on a CPU. */
export function limitsOf(facts: DeviceFacts): DeviceLimits {
  return {
    // Fused operations and large element-wise ones bind parts; a primitive that cannot do so reports it itself.
    maxBufferBytes: facts.bufferBytes,
    ...(isLarge(facts) && !facts.isSoftware && { chunkTensorBytes: 2 ** 29 }),
    targetScratchBytes: facts.isSoftware ? 2 ** 22 : 2 ** 26,
    minQueryChunk: 1,
    maxQueryChunk: 4096,
    // One level: a radix selection reads a row a fixed number of times, whatever its length.
    twoLevel: null,
    // A gathered element took 3.6 to 4.4 times a dense one on an H200 (docs/kernels/feed-forward.md).
    gatherCost: 4,
    inPlace: true,
    boolBytes: 4,
  };
}
