/** What the planner may assume of an engine: plain data, so that planning needs no device. */
export interface DeviceLimits {
  /** Largest single buffer in bytes. */
  readonly maxBufferBytes: number;
  /** Target scratch bytes of a query chunk: large enough to be fast, small enough for the caches. */
  readonly targetScratchBytes: number;
  /** Bounds on the query chunk, in queries. */
  readonly minQueryChunk: number;
  readonly maxQueryChunk: number;
  /** Two-level selection from this many keys on, with blocks of this many keys (measured per engine); null: never. */
  readonly twoLevel: { readonly minKeys: number; readonly blockSize: number } | null;
  /** Cost of a gathered value element relative to one multiply-add of a dense product (measured per engine). */
  readonly gatherCost: number;
  /** True when `writeInto` reuses the storage of an unshared destination. */
  readonly inPlace: boolean;
  /** True when the engine keeps a pass's scratch for later calls, so training holds both passes'. Default false. */
  readonly keepsScratch?: boolean;
  /**
   * Bytes of the largest tensor that work in chunks of queries makes where it is composed of ops and holds several such
   * tensors: what launches cost against memory. Default 64 MiB.
   */
  readonly chunkTensorBytes?: number;
  /** Bytes the engine stores a bool in. Default 1; WGSL has no storage type below 4. */
  readonly boolBytes?: 1 | 4;
}
