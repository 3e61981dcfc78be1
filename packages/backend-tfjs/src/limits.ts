import type { DeviceLimits } from '@topk-attention/core';

const common: DeviceLimits = {
  maxBufferBytes: 2 ** 31,
  targetScratchBytes: 2 ** 24,
  minQueryChunk: 16,
  maxQueryChunk: 1024,
  twoLevel: null,
  gatherCost: 16,
  inPlace: false,
};

/**
 * What was measured of the engines, for operations composed of primitives; the fused ones of cpu, wasm and tfjs-node choose
 * for themselves. The times, per row of 384 or per query: docs/benchmarks.md, "Selection".
 *
 * `gatherCost` with a feed-forward layer of 512 tokens x 768, 3,072 hidden units: its second product costs as much gathered
 * as dense at 34 kept units on tfjs-node (2 threads), at 105 on wasm.
 */
const measured: Readonly<Record<string, Partial<DeviceLimits>>> = {
  /** Two levels lose up to 8,192 keys (25 against 20 us a row) and win at 32,768 (47 against 54). */
  tensorflow: { gatherCost: 90, twoLevel: { minKeys: 32_768, blockSize: 32 } },
  /** 52 against 44 us at 8,192 keys, 115 against 138 at 32,768. */
  wasm: { gatherCost: 29, twoLevel: { minKeys: 32_768, blockSize: 32 } },
  /**
   * On an H200 a chunk takes 8 ms whatever its size, so chunks are large; 10.7 us a query in two levels at 4,096 keys against
   * 13.9, 58 against 108 at 32,768.
   */
  webgpu: { targetScratchBytes: 2 ** 28, maxQueryChunk: 4096, twoLevel: { minKeys: 4096, blockSize: 16 } },
};

/** What the planner may assume of an engine, by the name tf gives it. */
export function limitsOf(engineName: string): DeviceLimits {
  return { ...common, ...measured[engineName] };
}
