import {
  type AttentionOptions,
  add,
  exactAttention,
  rmsNorm,
  scope,
  type Tensor,
  topKAttention,
  topKFeedForward,
} from '@topk-attention/core';
import { linear, mergeHeads, splitHeads } from '@topk-attention/nn';
import type { AttentionChoice, FeedForwardChoice } from '../layer-choice.js';
import type { T5Config } from './config.js';
import type { AttentionWeights, FeedForwardLayerWeights } from './weights.js';

/** Queries, keys and values of one attention, [B, H, L, dKv]. */
export interface Projected {
  readonly query: Tensor;
  readonly key: Tensor;
  readonly value: Tensor;
}

/** Exact or top-k, as chosen; with no more than k keys the two are one, and exact is quicker. T5 does not scale its scores. */
export function attend(
  { query, key, value }: Projected,
  choice: AttentionChoice,
  options: Omit<AttentionOptions, 'scale'>,
): Tensor {
  return choice === 'exact' || choice.k >= (key.shape[2] as number)
    ? exactAttention(query, key, value, { ...options, scale: 1 })
    : topKAttention(query, key, value, { ...options, scale: 1, k: choice.k });
}

/** Keys and values that a sequence [B, L, dModel] offers to an attention. */
export function keysAndValues(
  config: T5Config,
  weights: AttentionWeights,
  x: Tensor,
): { key: Tensor; value: Tensor } {
  return scope(() => ({
    key: splitHeads(linear(x, weights.k), config.heads),
    value: splitHeads(linear(x, weights.v), config.heads),
  }));
}

/** Queries of a sequence [B, L, dModel], normalised first. */
export function queries(config: T5Config, weights: AttentionWeights, x: Tensor): Tensor {
  return scope(() => splitHeads(linear(rmsNorm(x, weights.norm, config.epsilon), weights.q), config.heads));
}

/** Queries, keys and values of the same sequence. */
export function project(config: T5Config, weights: AttentionWeights, x: Tensor): Projected {
  return scope(() => {
    const normal = rmsNorm(x, weights.norm, config.epsilon);
    return {
      query: splitHeads(linear(normal, weights.q), config.heads),
      ...keysAndValues(config, weights, normal),
    };
  });
}

/** x plus the projected heads. The residual stays f32. */
export function addAttention(weights: AttentionWeights, x: Tensor, attended: Tensor): Tensor {
  return scope(() => add(x, linear(mergeHeads(attended), weights.o)));
}

/** x plus its feed-forward layer, exact or top-k. */
export function addFeedForward(
  config: T5Config,
  { norm, weights }: FeedForwardLayerWeights,
  x: Tensor,
  choice: FeedForwardChoice,
): Tensor {
  const { activation, dFf, epsilon } = config;
  const kept = choice === 'exact' ? { k: dFf } : choice;
  return scope(() => add(x, topKFeedForward(rmsNorm(x, norm, epsilon), weights, { ...kept, activation })));
}
