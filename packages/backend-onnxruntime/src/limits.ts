import type { DeviceLimits } from '@topk-attention/core/backend';

/**
 * What the planner may assume about ONNX Runtime on a CPU. Measured with onnxruntime-node 1.30.0 on 2 cores of an
 * Intel Xeon (AVX-512), 12 heads of 64, k 64, in CPU time of one thread.
 */
export const limits: DeviceLimits = {
  /** The limit of typed arrays and of the engine's int32 row numbers. */
  maxBufferBytes: 2 ** 32,
  /**
   * A trade-off. Larger chunks amortise the packing of the keys: 0.48 ms per query at 64, 0.45 at 256 for
   * 8,192 keys. Smaller ones keep biases and masks in cache: exact T5 attention over 1,856 tokens takes 1.1 s with 8 MiB,
   * 1.2 with 128 and 1.5 with 400.
   */
  targetScratchBytes: 144 * 2 ** 20,
  /** At 32,768 keys a query takes 2.4 ms in chunks of 16, 1.8 in chunks of 64 and 1.7 in chunks of 128. */
  minQueryChunk: 64,
  maxQueryChunk: 1024,
  /** Blocks of 32 against one level: 26 to 32 ms at 8,192 keys and 64 queries; 61 to 79 at 4,096 keys and 256 queries. */
  twoLevel: { minKeys: 2048, blockSize: 32 },
  /** Feed-forward of 512 tokens, 768 to 3,072 to 768: gathered and dense second product take the same time at k 64. */
  gatherCost: 48,
  inPlace: false,
  /** Each session keeps its own arena. */
  keepsScratch: true,
};
