import type { Run } from '@topk-attention/nn';
import { paddedLength } from '../generation/padded-length.js';
import { blockExplanations, type LayerExplanation } from '../layer-explanation.js';
import type { EncoderLayers } from './layers.js';

/**
 * How each layer would run over sources of that length. Attention given as a function is left out: it has no plan.
 *
 * @throws TopKError DOES_NOT_FIT
 */
export function explainLayers(
  { config, words, blocks }: EncoderLayers,
  batch: number,
  sourceLength: number,
  run: Run,
): readonly LayerExplanation[] {
  const { backend } = words;
  const length = Math.min(paddedLength(backend, sourceLength), config.maxTokens);
  const shape = [batch, config.heads, length, config.width / config.heads];
  return blocks.flatMap((block) => blockExplanations(backend, block, shape, shape, run));
}
