import type { DeviceLimits } from '@topk-attention/core';

/** What the planner may assume of an engine, by the name tf gives it. */
export function limitsOf(_engineName: string): DeviceLimits {
  return {
    maxBufferBytes: 2 ** 31,
    targetScratchBytes: 2 ** 24,
    minQueryChunk: 16,
    maxQueryChunk: 1024,
    twoLevel: null,
    gatherCost: 16,
    inPlace: false,
  };
}
