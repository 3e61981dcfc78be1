import {
  activate,
  add,
  layerNorm,
  linear,
  matmul,
  narrow,
  relu,
  reshape,
  scope,
  type Tensor,
  TopKError,
  tanh,
} from '@topk-attention/core';
import { dropout, type Run } from '@topk-attention/nn';
import type { EncoderConfig } from './config.js';
import type { EncoderLayers } from './layers.js';
import { CLASSIFIER, embeddingNames, maskHeadNames, QA_OUTPUTS, textClassifierNames } from './weights.js';

/**
 * What the head gives for hidden states [B, L, width]: logits [B, labels] of texts, [B, L, labels] of tokens, [B, L, 2] of
 * the begins and ends of answers, [B, L, vocabSize] of words.
 *
 * @throws TopKError UNSUPPORTED for a model without a head
 */
export function headLogits(run: Run, layers: EncoderLayers, x: Tensor): Tensor {
  const { config } = layers;
  switch (config.task) {
    case 'text-classification':
      return textLogits(run, layers, x);
    case 'token-classification':
      return scope(() =>
        projected(layers, CLASSIFIER, dropout(run, 'head.input', x, config.headDropoutRate)),
      );
    case 'question-answering':
      return scope(() =>
        projected(layers, QA_OUTPUTS, dropout(run, 'head.input', x, config.headDropoutRate)),
      );
    case 'fill-mask':
      return wordLogits(layers, x);
    case 'feature-extraction':
      throw withoutHead('logits', config, 'a model with a head');
    default:
      return config.task satisfies never;
  }
}

/** The error for a call that needs another head. */
export function withoutHead(where: string, { task }: EncoderConfig, expected: string): TopKError {
  return new TopKError('UNSUPPORTED', `${where}: the model has no such head`, {
    expected,
    got: `task '${task}'`,
    fix: 'Load a checkpoint that was trained for it; the option task overrides what config.json says',
  });
}

function textLogits(run: Run, layers: EncoderLayers, x: Tensor): Tensor {
  const { family, width, headDropoutRate } = layers.config;
  const { dense, output } = textClassifierNames(family);
  return scope(() => {
    const first = reshape(narrow(x, 1, 0, 1), [x.shape[0] as number, width]);
    // RoBERTa drops twice.
    const read = family === 'roberta' ? dropout(run, 'head.input', first, headDropoutRate) : first;
    const made = projected(layers, dense, read);
    const active = family === 'distilbert' ? relu(made) : tanh(made);
    return projected(layers, output, dropout(run, 'head.output', active, headDropoutRate));
  });
}

/** Logits of all words for hidden states x [..., width]. */
export function wordLogits(layers: EncoderLayers, x: Tensor): Tensor {
  const { family, activation, epsilon, tiedEmbeddings } = layers.config;
  const { dense, norm, projection, bias } = maskHeadNames(family);
  const get = (name: string): Tensor => layers.parameters[name] as Tensor;
  // RoBERTa's head has GELU whatever the layers have.
  const own = family === 'roberta' ? 'gelu' : activation;
  return scope(() => {
    const made = activate(projected(layers, dense, x), own);
    const normal = layerNorm(made, get(`${norm}.weight`), get(`${norm}.bias`), epsilon);
    const table = get(tiedEmbeddings ? embeddingNames(family).words : projection);
    return add(matmul(normal, table, { transposeB: true }), get(bias));
  });
}

function projected({ parameters }: EncoderLayers, name: string, x: Tensor): Tensor {
  return linear(x, parameters[`${name}.weight`] as Tensor, parameters[`${name}.bias`] as Tensor);
}
