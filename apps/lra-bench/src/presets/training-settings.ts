/** How a classifier is trained. Plain data, stored with every run. */
export interface TrainingSettings {
  /** Examples per step. */
  readonly batch: number;
  readonly steps: number;
  /** Steps in which the rate rises. */
  readonly warmup: number;
  /** Highest rate, or with `rsqrt` its factor. */
  readonly learningRate: number;
  /**
   * one-cycle: PyTorch's, in linear pieces. rsqrt: rate * min(1, t / W) / sqrt(max(t, W)). cosine: after a linear warm-up.
   */
  readonly schedule: 'one-cycle' | 'rsqrt' | 'cosine';
  /** With one-cycle: whether the first beta moves against the rate, as PyTorch's default has it. */
  readonly momentum: 'cycled' | 'fixed';
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Gradients with a larger norm are scaled down to this; 0: never. */
  readonly clipNorm: number;
  /** Steps between two looks at the validation rows. */
  readonly evalEvery: number;
  /** Each look: the next batches of an endless shuffled stream of them, as published, or one pass over all. */
  readonly evaluation: { readonly kind: 'stream'; readonly batches: number } | { readonly kind: 'full' };
  /** Whether evaluation leaves out rows that fill no batch. */
  readonly lastBatch: 'dropped' | 'kept';
  /** Which rows choose the best checkpoint, where a task leaves the choice (Text). */
  readonly validation: 'test' | 'held-out';
}
