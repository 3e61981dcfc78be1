import { rmsNorm, scope, type Tensor } from '@topk-attention/core';
import { embedding } from '@topk-attention/nn';
import { type LayerChoices, resolveLayer } from '../layer-choice.js';
import type { T5Config } from './config.js';
import { addAttention, addFeedForward, attend, project } from './layers.js';
import type { SourceBatch } from './source-batch.js';
import type { T5Weights } from './weights.js';

/**
 * The encoder, a layer at a time: each call takes over `x` [B, L, dModel] and gives the next. Starts with undefined, ends with the
 * normalised output. A caller that may be interrupted stops between two calls.
 */
export function* encoderSteps(
  config: T5Config,
  weights: T5Weights,
  source: SourceBatch,
  levels: readonly LayerChoices[],
): Generator<Tensor, Tensor> {
  const { encoder } = weights;
  const options = {
    relativeBias: { table: encoder.relativeTable, bidirectional: true, maxDistance: config.maxDistance },
    ...(source.keyLengths && { keyLengths: source.keyLengths }),
  };
  let x = embedding(weights.embedding, source.ids);
  try {
    for (const [index, layer] of encoder.layers.entries()) {
      const choice = resolveLayer('encoder', index, levels);
      const next = scope(() => {
        const attended = attend(project(config, layer.attention, x), choice.attention, options);
        return addFeedForward(
          config,
          layer.feedForward,
          addAttention(layer.attention, x, attended),
          choice.feedForward,
        );
      });
      x.dispose();
      x = next;
      yield x;
    }
    return scope(() => rmsNorm(x, encoder.finalNorm, config.epsilon));
  } finally {
    x.dispose();
  }
}

/** Outputs of the encoder [B, L, dModel], at once. */
export function encode(
  config: T5Config,
  weights: T5Weights,
  source: SourceBatch,
  levels: readonly LayerChoices[],
): Tensor {
  return scope(() => {
    const steps = encoderSteps(config, weights, source, levels);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  });
}
