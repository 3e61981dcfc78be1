import {
  anArray,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  scope,
  type Tensor,
} from '@topk-attention/core';
import type { ParameterTree } from '@topk-attention/nn';
import { checkStackChoices, type StackChoices, stackChoiceKinds } from '../choices.js';
import { type ForwardOptions, forwardKinds } from '../forward-options.js';
import { type ModelRun, runOf } from '../run-of.js';
import { type EncoderConfig, encoderPaths } from './config.js';
import { headLogits } from './heads.js';
import { type EncoderLayers, encoderLayers } from './layers.js';
import { encode } from './stacks.js';
import { checkInputs, type EncoderInputs, encoderBatch } from './token-rows.js';

export interface EncoderForwardOptions extends ForwardOptions {
  /** Exact or top-k, layer by layer. Default: exact everywhere. */
  readonly choices?: StackChoices;
}

const inputKinds: OptionKinds<EncoderInputs> = {
  sources: required(anArray()),
  sourceLengths: anArray(),
  types: anArray(),
};
const optionKinds: OptionKinds<EncoderForwardOptions> = {
  choices: optionsWithin(stackChoiceKinds),
  ...forwardKinds,
};

/**
 * Hidden states f32 [B, L, width] of BERT, DistilBERT or RoBERTa as a pure function of its parameters: differentiable by
 * core's `valueAndGrad`. The caller disposes of it. In training everything is dropped as in transformers.
 *
 * @param parameters by their Hugging Face names, linear layers as [in, out]: `loadEncoderParameters` or
 * `model.parameters`
 * @throws TopKError MISSING_WEIGHT, EMPTY_SEQUENCE, TOO_LONG, SHAPE_MISMATCH, INVALID_K, INVALID_OPTION, DOES_NOT_FIT
 */
export function encoderForward(
  config: EncoderConfig,
  parameters: ParameterTree,
  inputs: EncoderInputs,
  options?: EncoderForwardOptions,
): Tensor {
  const given = readOptions('encoderForward: inputs', inputs, inputKinds);
  const { run, layers } = prepare('encoderForward', config, parameters, options);
  return hiddenStates('encoderForward', run, layers, given);
}

/**
 * What the head of the configuration's task gives: logits f32 [B, labels] of texts, [B, L, labels] of tokens, [B, L, 2] of
 * the begins and ends of answers, [B, L, vocabSize] of words. Otherwise as `encoderForward`.
 *
 * @throws TopKError as `encoderForward`; UNSUPPORTED for a configuration without a head
 *
 * @example
 * const task = 'text-classification';
 * const { config, parameters } = await loadEncoderParameters({ backend, source: 'encoder', task });
 * const labels = tensor(backend, Int32Array.of(1), [1], 'i32');
 * const loss = valueAndGrad((p: ParameterTree) =>
 *   crossEntropy(encoderLogits(config, p, { sources: [[2, 17, 25, 3]] }), labels),
 * );
 * const { value, gradients } = loss(parameters);
 */
export function encoderLogits(
  config: EncoderConfig,
  parameters: ParameterTree,
  inputs: EncoderInputs,
  options?: EncoderForwardOptions,
): Tensor {
  const given = readOptions('encoderLogits: inputs', inputs, inputKinds);
  const { run, layers } = prepare('encoderLogits', config, parameters, options);
  return logits('encoderLogits', run, layers, given);
}

function prepare(
  where: string,
  config: EncoderConfig,
  parameters: ParameterTree,
  options: EncoderForwardOptions | undefined,
): { run: ModelRun; layers: EncoderLayers } {
  const { choices = {}, ...given } = readOptions(where, options, optionKinds);
  checkStackChoices(where, choices, encoderPaths(config));
  return { run: runOf(where, given), layers: encoderLayers(config, parameters, [choices]) };
}

/** Checks the inputs of `where`, and runs the encoder. */
export function hiddenStates(
  where: string,
  run: ModelRun,
  layers: EncoderLayers,
  inputs: EncoderInputs,
): Tensor {
  const length = checkInputs(where, layers.config, inputs);
  return scope(() => encode(run, layers, encoderBatch(layers.words.backend, layers.config, inputs, length)));
}

/** Checks the inputs of `where`, and runs the encoder and its head. */
export function logits(where: string, run: ModelRun, layers: EncoderLayers, inputs: EncoderInputs): Tensor {
  return scope(() => headLogits(run, layers, hiddenStates(where, run, layers, inputs)));
}
