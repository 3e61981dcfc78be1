import type { Tensor } from '@topk-attention/core';

/** What a schedule may change from step to step. */
export interface StepOptions {
  /** Multiplies the learning rate of every group. Default 1. */
  readonly rateFactor?: number;
  /** Replaces the momentum (SGD) or the first beta (Adam, AdamW). Default: the optimiser's own. */
  readonly momentum?: number;
}

/** What a step takes besides the numbers of a schedule. */
export interface OptimizerStepOptions extends StepOptions {
  /**
   * Multiplies every gradient, f32 [], such as `clipScale(...).scale`: part of the update, without a pass over the gradients
   * of its own. Default: none.
   */
  readonly gradientScale?: Tensor;
}
