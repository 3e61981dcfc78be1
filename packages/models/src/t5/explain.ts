import type { Shape } from '@topk-attention/core';
import { type AttentionLayer, explainAttention, explainFeedForwardLayer, type Run } from '@topk-attention/nn';
import { paddedLength } from '../generation/padded-length.js';
import type { LayerExplanation } from '../layer-explanation.js';
import type { T5Layers } from './layers.js';

/**
 * How each layer would run over sources of that length. Attention given as a function is left out: it has no plan.
 *
 * @throws TopKError DOES_NOT_FIT
 */
export function explainLayers(
  { config, embedding, encoder, decoder }: T5Layers,
  batch: number,
  sourceLength: number,
  run: Run,
): readonly LayerExplanation[] {
  const { backend } = embedding;
  const length = paddedLength(backend, sourceLength);
  const keys = [batch, config.heads, length, config.dKv];
  const query = [batch, config.heads, 1, config.dKv];
  const attention = (name: string, layer: AttentionLayer, queries: Shape): LayerExplanation[] =>
    typeof layer.choice === 'function'
      ? []
      : [{ name, explanation: explainAttention(backend, layer, queries, keys, run) }];
  return [
    ...encoder.blocks.flatMap((block) => [
      ...attention(`${block.path} attention`, block.attention.layer, keys),
      {
        name: `${block.path} feedForward`,
        explanation: explainFeedForwardLayer(backend, block.feedForward.layer, batch * length, run),
      },
    ]),
    ...decoder.blocks.flatMap(({ path, crossAttention }) =>
      attention(`${path} crossAttention`, crossAttention.layer, query),
    ),
  ];
}
