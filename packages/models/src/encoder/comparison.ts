import {
  concat,
  gatherRows,
  reshape,
  scope,
  type Tensor,
  tensor,
  transpose,
  zeros,
} from '@topk-attention/core';
import type { StackChoices } from '../choices.js';
import type { Comparison, LayerPart } from '../choosing-k/comparison.js';
import { type ModelRun, runOf } from '../run-of.js';
import { type EncoderConfig, encoderPaths } from './config.js';
import { headLogits, wordLogits } from './heads.js';
import type { EncoderLayers } from './layers.js';
import { encode } from './stacks.js';
import { encoderBatch } from './token-rows.js';
import type { TokenRow } from './token-sources.js';

/**
 * A source for `suggestK` and `kErrors`.
 *
 * @param masks where the source has masks, for a model that fills them
 */
export function encoderComparison(
  config: EncoderConfig,
  { ids, types }: TokenRow,
  masks: readonly number[],
  layersOf: (choices: StackChoices) => EncoderLayers,
): Comparison {
  return {
    outputs: hasLogits(config) ? 'logits' : 'vectors',
    parts: encoderPaths(config).flatMap((path): readonly LayerPart[] => [
      { path, part: 'attention', most: ids.length },
      { path, part: 'feedForward', most: config.hidden },
    ]),
    run: (choices, trace) => {
      const run = runOf('comparison', { trace });
      const layers = layersOf(choices);
      const inputs = { sources: [ids], types: [types] };
      return scope(() => {
        const batch = encoderBatch(layers.words.backend, config, inputs, ids.length);
        return output(run, layers, encode(run, layers, batch), masks);
      });
    },
  };
}

/** Whether what the model gives is the logits of probabilities; else its hidden states are compared. */
function hasLogits({ task, problem }: EncoderConfig): boolean {
  return task === 'text-classification' ? problem !== 'regression' : task !== 'feature-extraction';
}

/** Rows of logits, each of one choice: a class of the text or of a token, a word for a mask, the begin or the end of an answer. */
function output(run: ModelRun, layers: EncoderLayers, hidden: Tensor, masks: readonly number[]): Tensor {
  const { config } = layers;
  if (!hasLogits(config)) return hidden;
  if (config.task === 'fill-mask') {
    const places = tensor(hidden.backend, Int32Array.from(masks), [1, masks.length], 'i32');
    return wordLogits(layers, gatherRows(hidden, places));
  }
  const logits = headLogits(run, layers, hidden);
  if (config.task === 'question-answering') return transpose(logits, [0, 2, 1]);
  if (config.task !== 'text-classification' || config.problem !== 'multi-label') return logits;
  // A class that holds or does not: a sigmoid is the softmax with 0 beside it.
  const each = reshape(logits, [1, config.labels.length, 1]);
  return concat([each, zeros(each.backend, each.shape)], 2);
}
