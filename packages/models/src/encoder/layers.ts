import type { Tensor } from '@topk-attention/core';
import type { AttentionLayer, FeedForwardChoice, FeedForwardLayer, ParameterTree } from '@topk-attention/nn';
import { checkParameters } from '../checkpoint/check-parameters.js';
import { resolveChoice, type StackChoices } from '../choices.js';
import type { EncoderConfig } from './config.js';
import { blockNames, embeddingNames, encoderParameterSpecs } from './weights.js';

/** Weight and bias, [width] each, of a layer norm. */
export interface Norm {
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/** A block with the norm behind each sublayer: norm(x + layer(x)). */
export interface EncoderBlock {
  /** 'encoder.0' */
  readonly path: string;
  readonly attention: AttentionLayer;
  readonly attentionNorm: Norm;
  readonly feedForward: FeedForwardLayer;
  readonly outputNorm: Norm;
}

/** An encoder as layers: built from configuration, parameters and choices, then applied. Owns no tensor. */
export interface EncoderLayers {
  readonly config: EncoderConfig;
  readonly parameters: ParameterTree;
  /** [vocabSize, width] */
  readonly words: Tensor;
  /** [positions, width] */
  readonly positions: Tensor;
  /** [types, width] */
  readonly types: Tensor | undefined;
  readonly norm: Norm;
  readonly blocks: readonly EncoderBlock[];
}

/**
 * @param levels choices, the nearest first
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH for parameters that are not those of the configuration.
 */
export function encoderLayers(
  config: EncoderConfig,
  parameters: ParameterTree,
  levels: readonly StackChoices[],
): EncoderLayers {
  checkParameters('encoder', encoderParameterSpecs(config), parameters);
  const { family, width, heads, activation, attentionDropoutRate } = config;
  const get = (name: string): Tensor => parameters[name] as Tensor;
  const normOf = (name: string): Norm => ({ weight: get(`${name}.weight`), bias: get(`${name}.bias`) });

  const block = (index: number): EncoderBlock => {
    const path = `encoder.${index}`;
    const names = blockNames(family, index);
    const { attention: choice, feedForward } = resolveChoice(path, levels);
    const weight = (role: 'q' | 'k' | 'v' | 'o'): Tensor => get(`${names[role]}.weight`);
    const bias = (role: 'q' | 'k' | 'v' | 'o'): Tensor => get(`${names[role]}.bias`);
    return {
      path,
      attention: {
        path: `${path}.attention`,
        weights: {
          ...{ q: weight('q'), k: weight('k'), v: weight('v'), o: weight('o') },
          ...{ qBias: bias('q'), kBias: bias('k'), vBias: bias('v'), oBias: bias('o') },
        },
        heads,
        scale: (width / heads) ** -0.5,
        choice,
        sequence: {},
        dropout: attentionDropoutRate,
      },
      attentionNorm: normOf(names.attentionNorm),
      feedForward: {
        path: `${path}.feedForward`,
        weights: {
          ...{ wIn: get(`${names.wIn}.weight`), bIn: get(`${names.wIn}.bias`) },
          ...{ wOut: get(`${names.wOut}.weight`), bOut: get(`${names.wOut}.bias`) },
        },
        activation,
        choice: ranked(feedForward, config),
      },
      outputNorm: normOf(names.outputNorm),
    };
  };

  const { words, positions, types, norm } = embeddingNames(family);
  return {
    config,
    parameters,
    words: get(words),
    positions: get(positions),
    types: config.types > 0 ? get(types) : undefined,
    norm: normOf(norm),
    blocks: Array.from({ length: config.layers }, (_, index) => block(index)),
  };
}

/**
 * Units are ranked by the size of what they contribute unless the choice says otherwise or the activation is ReLU: GELU is
 * not 0 below 0, so that the largest pre-activations are not the largest activations.
 */
function ranked(choice: FeedForwardChoice, { activation }: EncoderConfig): FeedForwardChoice {
  if (choice === 'exact' || choice.select !== undefined || activation === 'relu') return choice;
  return { ...choice, select: 'contribution' };
}
