import {
  anArray,
  describeValue,
  narrow,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { ParameterTree } from '@topk-attention/nn';
import { checkStackChoices, type StackChoices, stackChoiceKinds } from '../choices.js';
import { type ForwardOptions, forwardKinds } from '../forward-options.js';
import { checkRectangle } from '../generation/token-batch.js';
import { applied, type ModelRun, runOf } from '../run-of.js';
import { afterHeads, embed, headsOf, logitsOf } from './blocks.js';
import { blockPaths, type CausalLMConfig } from './config.js';
import { type CausalLayers, causalLayers } from './layers.js';
import { uploadPadded } from './padded-tokens.js';
import { type Rotary, rotaryAt, rotaryInOrder, rotaryTable } from './rotary.js';

/** Token ids of a forward pass. */
export interface CausalLMInputs {
  /**
   * Rows of equal length. Padding on the right needs nothing but a token to fill it: no token before it sees it, and its
   * logits mean nothing.
   */
  readonly tokens: readonly (readonly number[])[];
  /** How many tokens at the left of each row are padding: hidden, and positions count from behind them. Default: none. */
  readonly leftPadding?: readonly number[];
}

export interface CausalLMForwardOptions extends ForwardOptions {
  /** Exact or top-k, layer by layer. Default: exact everywhere. */
  readonly choices?: StackChoices;
}

const inputKinds: OptionKinds<CausalLMInputs> = { tokens: required(anArray()), leftPadding: anArray() };
const optionKinds: OptionKinds<CausalLMForwardOptions> = {
  choices: optionsWithin(stackChoiceKinds),
  ...forwardKinds,
};

/**
 * Logits f32 [B, L, vocabSize] of a decoder-only model as a pure function of its parameters: differentiable by core's
 * `valueAndGrad`. Those at a token predict the next one. The caller disposes of them. Hidden units of feed-forward layers
 * are not dropped in training; everything else is as in transformers.
 *
 * @param parameters by their Hugging Face names, linear layers as [in, out]: `loadCausalLMParameters` or `model.parameters`
 * @throws TopKError MISSING_WEIGHT, EMPTY_SEQUENCE, SHAPE_MISMATCH, INVALID_K, INVALID_OPTION, DOES_NOT_FIT
 *
 * @example
 * const { config, parameters } = await loadCausalLMParameters({ backend, source: './stories' });
 * const labels = tensor(backend, Int32Array.of(6, 7), [2], 'i32');
 * const loss = valueAndGrad((p: ParameterTree) => {
 *   const logits = causalLMForward(config, p, { tokens: [[5, 6]] });
 *   return crossEntropy(reshape(logits, [2, config.vocabSize]), labels);
 * });
 * const { value, gradients } = loss(parameters);
 */
export function causalLMForward(
  config: CausalLMConfig,
  parameters: ParameterTree,
  inputs: CausalLMInputs,
  options?: CausalLMForwardOptions,
): Tensor {
  const where = 'causalLMForward';
  const given = readOptions(`${where}: inputs`, inputs, inputKinds);
  const { choices = {}, ...others } = readOptions(where, options, optionKinds);
  checkStackChoices(where, choices, blockPaths(config));
  return forward(where, runOf(where, others), causalLayers(config, parameters, [choices]), given);
}

/**
 * Checks the inputs of `where`, and runs the whole model.
 *
 * @param first the logits begin with those of this token. Default: the first
 */
export function forward(
  where: string,
  run: ModelRun,
  model: CausalLayers,
  { tokens, leftPadding }: CausalLMInputs,
  first = 0,
): Tensor {
  const { config, embedding } = model;
  const length = checkRectangle(where, config, tokens);
  const padding = leftPadding === undefined ? tokens.map(() => 0) : Array.from(leftPadding);
  checkPadding(where, padding, tokens.length, length);
  checkLength(where, config, length);
  return scope(() => {
    const { ids, positions, mask } = uploadPadded(embedding.backend, tokens, padding, length);
    const turn = rotaryOf(model, length, mask === undefined ? undefined : positions);
    let x = embed(run, model, ids, positions);
    for (const block of model.blocks) {
      const next = applied(run, { x, block, mask, turn }, (inner, given) =>
        scope(() => {
          const heads = headsOf(config, given.block, given.x, given.turn);
          const options = { ...given.block.attention.sequence, ...(given.mask && { mask: given.mask }) };
          return afterHeads(inner, config, given.block, given.x, heads, options);
        }),
      );
      x.dispose();
      x = next;
    }
    return logitsOf(model, first === 0 ? x : narrow(x, 1, first, length - first));
  });
}

/** The angles of a sequence of tokens in order, or at `positions`. */
export function rotaryOf(
  { config, embedding }: CausalLayers,
  length: number,
  positions: Tensor | undefined,
): Rotary | undefined {
  const { rotary, headDim } = config;
  if (rotary === undefined) return undefined;
  return scope(() => {
    const table = rotaryTable(embedding.backend, rotary, headDim, length);
    return positions === undefined ? rotaryInOrder(table) : rotaryAt(table, positions);
  });
}

/** @throws TopKError INVALID_OPTION for more tokens than there are learned positions; rotary ones have no end. */
export function checkLength(where: string, { rotary, maxPositions }: CausalLMConfig, length: number): void {
  if (rotary !== undefined || length <= maxPositions) return;
  throw new TopKError('INVALID_OPTION', `${where}: the text is longer than the model has positions`, {
    expected: `at most ${maxPositions} tokens, new ones included`,
    got: String(length),
    fix: 'Shorten the text, or ask for fewer new tokens',
  });
}

function checkPadding(where: string, padding: readonly number[], rows: number, length: number): void {
  const fits =
    padding.length === rows && padding.every((own) => Number.isInteger(own) && own >= 0 && own < length);
  if (fits) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: bad leftPadding`, {
    expected: `${rows} numbers from 0 to ${length - 1}`,
    got: `[${Array.from(padding, describeValue).join(', ')}]`,
  });
}
