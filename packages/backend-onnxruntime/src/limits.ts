import type { DeviceLimits } from '@topk-attention/core';

/** What the planner may assume of ONNX Runtime on a CPU. */
export const limits: DeviceLimits = {
  maxBufferBytes: 2 ** 31,
  targetScratchBytes: 64 * 2 ** 20,
  minQueryChunk: 16,
  maxQueryChunk: 1024,
  twoLevel: { minKeys: 4096, blockSize: 32 },
  gatherCost: 4,
  inPlace: false,
};
