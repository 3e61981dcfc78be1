import type { AttentionPlan, Explanation, FeedForwardPlan } from '@topk-attention/core';
import { explainAttention, explainFeedForwardLayer } from '@topk-attention/nn';
import { paddedLength } from '../generation/padded-length.js';
import type { T5Layers } from './layers.js';

/** One part of one layer, as it would run. */
export interface LayerExplanation {
  /** 'encoder.0 attention', 'encoder.0 feedForward', 'decoder.0 crossAttention', ... */
  readonly name: string;
  readonly explanation: Explanation<AttentionPlan> | Explanation<FeedForwardPlan>;
}

/** How each layer over sources of that length would run. */
export function explainLayers(
  { config, embedding, encoder, decoder }: T5Layers,
  batch: number,
  sourceLength: number,
): readonly LayerExplanation[] {
  const { backend } = embedding;
  const length = paddedLength(backend, sourceLength);
  const keys = [batch, config.heads, length, config.dKv];
  const query = [batch, config.heads, 1, config.dKv];
  return [
    ...encoder.blocks.flatMap(({ path, attention, feedForward }) => [
      { name: `${path} attention`, explanation: explainAttention(backend, attention.layer, keys, keys) },
      {
        name: `${path} feedForward`,
        explanation: explainFeedForwardLayer(backend, feedForward.layer, batch * length),
      },
    ]),
    ...decoder.blocks.map(({ path, crossAttention }) => ({
      name: `${path} crossAttention`,
      explanation: explainAttention(backend, crossAttention.layer, query, keys),
    })),
  ];
}
