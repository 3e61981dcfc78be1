import type { DeviceLimits } from '@topk-attention/core';

/**
 * Measured with a feed-forward layer of 512 tokens x 768, 3,072 hidden units: its second product costs as much gathered
 * as dense at 34 kept units on tfjs-node (2 threads), at 105 on wasm.
 */
const gatherCosts: Readonly<Partial<Record<string, number>>> = { tensorflow: 90, wasm: 29 };

/** What the planner may assume of an engine, by the name tf gives it. */
export function limitsOf(engineName: string): DeviceLimits {
  return {
    maxBufferBytes: 2 ** 31,
    targetScratchBytes: 2 ** 24,
    minQueryChunk: 16,
    maxQueryChunk: 1024,
    twoLevel: null,
    gatherCost: gatherCosts[engineName] ?? 16,
    inPlace: false,
  };
}
