import { type Backend, explain, explainFeedForward } from '@topk-attention/core';
import { type AttentionChoice, type LayerChoices, resolveLayer } from '../layer-choice.js';
import type { T5Config } from './config.js';
import { sharedLength } from './source-batch.js';
import type { LayerExplanation } from './t5.js';
import type { T5Weights } from './weights.js';

/** How each layer over a source of that length would run. */
export function explainLayers(
  backend: Backend,
  config: T5Config,
  weights: T5Weights,
  levels: readonly LayerChoices[],
  batch: number,
  sourceLength: number,
): readonly LayerExplanation[] {
  const { activation, dFf, dKv, dModel, gated, heads, maxDistance } = config;
  const length = backend.capabilities.execution === 'lazy' ? sharedLength(sourceLength) : sourceLength;
  const keys = [batch, heads, length, dKv];
  const kept = (choice: AttentionChoice) => (choice === 'exact' || choice.k >= length ? {} : { k: choice.k });
  const encoder = weights.encoder.layers.flatMap((_, index): LayerExplanation[] => {
    const choice = resolveLayer('encoder', index, levels);
    const relativeBias = { table: weights.encoder.relativeTable, bidirectional: true, maxDistance };
    const units = choice.feedForward === 'exact' ? { k: dFf } : choice.feedForward;
    return [
      {
        name: `encoder.${index} attention`,
        explanation: explain(
          backend,
          { q: keys, k: keys, v: keys },
          { scale: 1, relativeBias, ...kept(choice.attention) },
        ),
      },
      {
        name: `encoder.${index} feedForward`,
        explanation: explainFeedForward(
          backend,
          { tokens: batch * length, inputDim: dModel, hidden: dFf, outputDim: dModel, gated },
          { ...units, activation },
        ),
      },
    ];
  });
  const decoder = weights.decoder.layers.map((_, index): LayerExplanation => {
    const { crossAttention } = resolveLayer('decoder', index, levels);
    const query = [batch, heads, 1, dKv];
    return {
      name: `decoder.${index} crossAttention`,
      explanation: explain(backend, { q: query, k: keys, v: keys }, { scale: 1, ...kept(crossAttention) }),
    };
  });
  return [...encoder, ...decoder];
}
