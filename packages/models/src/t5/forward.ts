import {
  anArray,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { ParameterTree } from '@topk-attention/nn';
import { checkChoices, choiceKinds, type LayerChoices } from '../choices.js';
import { type ForwardOptions, forwardKinds } from '../forward-options.js';
import { checkRectangle, tokenBatch } from '../generation/token-batch.js';
import { type ModelRun, runOf } from '../run-of.js';
import { blockPaths, type T5Config } from './config.js';
import { type T5Layers, t5Layers } from './layers.js';
import { decode, encode } from './stacks.js';

/** Token ids of a forward pass. Rows have equal lengths: pad on the right. */
export interface T5Sources {
  readonly sources: readonly (readonly number[])[];
  /** Valid tokens of each source. Default: all. */
  readonly sourceLengths?: readonly number[];
}

export interface T5Inputs extends T5Sources {
  /** The decoder's input: its start id, then the tokens before the one to be predicted. */
  readonly targets: readonly (readonly number[])[];
}

export interface T5ForwardOptions extends ForwardOptions {
  /** Exact or top-k, layer by layer. Default: exact everywhere. */
  readonly choices?: LayerChoices;
}

const sourceKinds: OptionKinds<T5Sources> = { sources: required(anArray()), sourceLengths: anArray() };
const inputKinds: OptionKinds<T5Inputs> = { ...sourceKinds, targets: required(anArray()) };
const optionKinds: OptionKinds<T5ForwardOptions> = {
  choices: optionsWithin(choiceKinds),
  ...forwardKinds,
};

/**
 * Logits f32 [B, Lt, vocabSize] of a T5 as a pure function of its parameters: differentiable by core's `valueAndGrad`. The
 * caller disposes of it. Hidden units of feed-forward layers are not dropped in training; everything else is as in
 * transformers.
 *
 * @param parameters by their Hugging Face names, linear layers as [in, out]: `loadT5Parameters` or `model.parameters`
 * @throws TopKError MISSING_WEIGHT, EMPTY_SEQUENCE, SHAPE_MISMATCH, INVALID_K, INVALID_OPTION, DOES_NOT_FIT
 *
 * @example
 * const { config, parameters } = await loadT5({ backend, source: 'model' });
 * const labels = tensor(backend, Int32Array.of(7, 1), [2], 'i32');
 * const loss = valueAndGrad((p: ParameterTree) => {
 *   const logits = t5Forward(config, p, { sources: [[5, 6, 1]], targets: [[0, 7]] });
 *   return crossEntropy(reshape(logits, [2, config.vocabSize]), labels);
 * });
 * const { value, gradients } = loss(parameters);
 */
export function t5Forward(
  config: T5Config,
  parameters: ParameterTree,
  inputs: T5Inputs,
  options?: T5ForwardOptions,
): Tensor {
  const given = readOptions('t5Forward: inputs', inputs, inputKinds);
  const { run, layers } = prepare('t5Forward', config, parameters, options);
  return forward('t5Forward', run, layers, given);
}

/**
 * Outputs f32 [B, L, dModel] of a T5's encoder as a pure function of its parameters; otherwise as `t5Forward`.
 *
 * @throws TopKError as `t5Forward`
 */
export function t5Encode(
  config: T5Config,
  parameters: ParameterTree,
  inputs: T5Sources,
  options?: T5ForwardOptions,
): Tensor {
  const given = readOptions('t5Encode: inputs', inputs, sourceKinds);
  const { run, layers } = prepare('t5Encode', config, parameters, options);
  return encodeSources('t5Encode', run, layers, given);
}

function prepare(
  where: string,
  config: T5Config,
  parameters: ParameterTree,
  options: T5ForwardOptions | undefined,
): { run: ModelRun; layers: T5Layers } {
  const { choices = {}, ...given } = readOptions(where, options, optionKinds);
  checkChoices(where, choices, blockPaths(config));
  return {
    run: runOf(where, given),
    layers: t5Layers(config, parameters, [choices]),
  };
}

/** Checks the inputs of `where`, and runs the encoder. */
export function encodeSources(
  where: string,
  run: ModelRun,
  layers: T5Layers,
  { sources, sourceLengths }: T5Sources,
): Tensor {
  const { config, embedding } = layers;
  const length = checkRectangle(where, config, sources, sourceLengths);
  return scope(() =>
    encode(run, layers, tokenBatch(embedding.backend, config, sources, length, sourceLengths)),
  );
}

/** Checks the inputs of `where`, and runs the whole model. */
export function forward(
  where: string,
  run: ModelRun,
  layers: T5Layers,
  { sources, sourceLengths, targets }: T5Inputs,
): Tensor {
  const { config, embedding } = layers;
  const { backend } = embedding;
  const length = checkRectangle(where, config, sources, sourceLengths);
  const targetLength = checkRectangle(where, config, targets);
  if (targets.length !== sources.length) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: sources and targets differ in number`, {
      expected: String(sources.length),
      got: String(targets.length),
    });
  }
  return scope(() => {
    const source = tokenBatch(backend, config, sources, length, sourceLengths);
    const encoded = encode(run, layers, source);
    const { ids } = tokenBatch(backend, config, targets, targetLength);
    return decode(run, layers, encoded, source.keyLengths, ids);
  });
}
