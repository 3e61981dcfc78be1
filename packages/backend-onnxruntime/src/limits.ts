import type { DeviceLimits } from '@topk-attention/core';

/**
 * What the planner may assume of ONNX Runtime on a CPU. Measured with onnxruntime-node 1.30.0 on 2 cores of an Intel Xeon
 * (AVX-512), 12 heads of 64, k 64, in CPU time of one thread.
 */
export const limits: DeviceLimits = {
  /** Typed arrays and the engine's int32 row numbers end here. */
  maxBufferBytes: 2 ** 32,
  /**
   * Larger chunks amortise the packing of the keys: 0.41 ms per query at 64, 0.37 at 256, 0.33 at 512 for 8,192 keys. This
   * plans 256 there and keeps 65,536 tokens of self-attention under 2 GiB of process memory.
   */
  targetScratchBytes: 400 * 2 ** 20,
  /** Below 32 queries the packing costs more than the product. */
  minQueryChunk: 32,
  maxQueryChunk: 1024,
  /** Blocks of 32 against one level: 26 to 32 ms at 8,192 keys and 64 queries; 61 to 79 at 4,096 keys and 256 queries. */
  twoLevel: { minKeys: 2048, blockSize: 32 },
  /** Feed-forward of 512 tokens, 768 to 3,072 to 768: gathered and dense second product take the same time at k 64. */
  gatherCost: 48,
  inPlace: false,
};
