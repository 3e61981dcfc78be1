import type { Run } from '@topk-attention/nn';
import { paddedLength } from '../generation/padded-length.js';
import { blockExplanations, type LayerExplanation } from '../layer-explanation.js';
import type { CausalLayers } from './layers.js';

/**
 * How each layer would run over a prompt of that length. Attention given as a function is left out: it has no plan.
 *
 * @throws TopKError DOES_NOT_FIT
 */
export function explainLayers(
  { config, embedding, blocks }: CausalLayers,
  batch: number,
  tokens: number,
  run: Run,
): readonly LayerExplanation[] {
  const { backend } = embedding;
  const length = paddedLength(backend, tokens);
  const queries = [batch, config.heads, length, config.headDim];
  const keys = [batch, config.keyValueHeads, length, config.headDim];
  return blocks.flatMap((block) => blockExplanations(backend, block, queries, keys, run));
}
