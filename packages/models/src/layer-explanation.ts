import type { AttentionPlan, Explanation, FeedForwardPlan } from '@topk-attention/core';

/** One part of one layer, as it would run. */
export interface LayerExplanation {
  /** 'encoder.0 attention', 'encoder.0 feedForward', 'decoder.0 crossAttention', ... */
  readonly name: string;
  readonly explanation: Explanation<AttentionPlan> | Explanation<FeedForwardPlan>;
}
