import type { Run } from '@topk-attention/nn';
import { paddedLength } from '../generation/padded-length.js';
import { attentionExplanations, blockExplanations, type LayerExplanation } from '../layer-explanation.js';
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
  return [
    ...encoder.blocks.flatMap(({ path, attention, feedForward }) => {
      const block = { path, attention: attention.layer, feedForward: feedForward.layer };
      return blockExplanations(backend, block, keys, keys, run);
    }),
    ...decoder.blocks.flatMap(({ path, crossAttention }) =>
      attentionExplanations(backend, `${path} crossAttention`, crossAttention.layer, query, keys, run),
    ),
  ];
}
