import type { AttentionPlan, Backend, Explanation, FeedForwardPlan, Shape } from '@topk-attention/core';
import {
  explainAttention,
  explainFeedForwardLayer,
  type FeedForwardLayer,
  type HeadAttention,
  type Run,
} from '@topk-attention/nn';

/** One part of one layer, as it would run. */
export interface LayerExplanation {
  /** 'encoder.0 attention', 'encoder.0 feedForward', 'decoder.0 crossAttention', ... */
  readonly name: string;
  readonly explanation: Explanation<AttentionPlan> | Explanation<FeedForwardPlan>;
}

/**
 * How attention over whole sequences would run. Nothing for attention given as a function: it has no plan.
 *
 * @param queries shape [B, heads, Lq, headDim]
 * @param keys shape [B, keyValueHeads, Lk, headDim]
 * @throws TopKError DOES_NOT_FIT
 */
export function attentionExplanations(
  backend: Backend,
  name: string,
  layer: HeadAttention,
  queries: Shape,
  keys: Shape,
  run: Run,
): readonly LayerExplanation[] {
  if (typeof layer.choice === 'function') return [];
  return [{ name, explanation: explainAttention(backend, layer, queries, keys, run) }];
}

/** The same for a block of self-attention and a feed-forward layer. */
export function blockExplanations(
  backend: Backend,
  block: { readonly path: string; readonly attention: HeadAttention; readonly feedForward: FeedForwardLayer },
  queries: Shape,
  keys: Shape,
  run: Run,
): readonly LayerExplanation[] {
  const { path, attention, feedForward } = block;
  const [batch, , length] = queries as readonly [number, number, number];
  return [
    ...attentionExplanations(backend, `${path} attention`, attention, queries, keys, run),
    {
      name: `${path} feedForward`,
      explanation: explainFeedForwardLayer(backend, feedForward, batch * length, run),
    },
  ];
}
