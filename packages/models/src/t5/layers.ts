import type { Tensor } from '@topk-attention/core';
import type { AttentionChoice, AttentionLayer, FeedForwardLayer, ParameterTree } from '@topk-attention/nn';
import { checkParameters } from '../checkpoint/check-parameters.js';
import { type LayerChoices, resolveChoice } from '../choices.js';
import { depthOf, type Stack, type T5Config } from './config.js';
import {
  EMBEDDING,
  finalNormName,
  outputName,
  relativeTableName,
  SUBLAYERS,
  sublayerName,
  t5ParameterSpecs,
} from './weights.js';

/** A sublayer with its norm in front: x + layer(norm(x)). */
export interface Sublayer<Layer> {
  /** [dModel] */
  readonly norm: Tensor;
  readonly layer: Layer;
}

export interface EncoderBlock {
  /** 'encoder.0' */
  readonly path: string;
  readonly attention: Sublayer<AttentionLayer>;
  readonly feedForward: Sublayer<FeedForwardLayer>;
}

export interface DecoderBlock extends EncoderBlock {
  readonly crossAttention: Sublayer<AttentionLayer>;
}

/** A T5 as layers: built from configuration, parameters and choices, then applied. Owns no tensor. */
export interface T5Layers {
  readonly config: T5Config;
  /** [vocabSize, dModel] */
  readonly embedding: Tensor;
  readonly encoder: { readonly blocks: readonly EncoderBlock[]; readonly norm: Tensor };
  readonly decoder: {
    readonly blocks: readonly DecoderBlock[];
    readonly norm: Tensor;
  };
  /** [vocabSize, dModel] */
  readonly output: Tensor;
}

/**
 * @param levels choices, the nearest first
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH for parameters that are not those of the configuration.
 */
export function t5Layers(
  config: T5Config,
  parameters: ParameterTree,
  levels: readonly LayerChoices[],
): T5Layers {
  checkParameters('T5', t5ParameterSpecs(config), parameters);
  const { heads, dropoutRate, maxDistance } = config;
  const get = (name: string): Tensor => parameters[name] as Tensor;

  const attention = (
    path: string,
    sublayer: string,
    kind: 'SelfAttention' | 'EncDecAttention',
    choice: AttentionChoice,
    sequence: AttentionLayer['sequence'],
  ): Sublayer<AttentionLayer> => {
    const weight = (role: string): Tensor => get(`${sublayer}.${kind}.${role}.weight`);
    const weights = { q: weight('q'), k: weight('k'), v: weight('v'), o: weight('o') };
    return {
      norm: get(`${sublayer}.layer_norm.weight`),
      // T5 does not scale its scores.
      layer: { path, weights, heads, scale: 1, choice, sequence, dropout: dropoutRate },
    };
  };

  const feedForward = (
    path: string,
    sublayer: string,
    choice: FeedForwardLayer['choice'],
  ): Sublayer<FeedForwardLayer> => {
    const weight = (name: string): Tensor => get(`${sublayer}.DenseReluDense.${name}.weight`);
    const weights = config.gated
      ? { wIn: weight('wi_0'), wGate: weight('wi_1'), wOut: weight('wo') }
      : { wIn: weight('wi'), wOut: weight('wo') };
    return {
      norm: get(`${sublayer}.layer_norm.weight`),
      layer: { path, weights, activation: config.activation, choice },
    };
  };

  /** The parts that blocks of both stacks have. */
  const block = (stack: Stack, index: number): EncoderBlock => {
    const path = `${stack}.${index}`;
    const choice = resolveChoice(path, levels);
    const name = (sublayer: number): string => sublayerName(stack, index, sublayer);
    const isEncoder = stack === 'encoder';
    const relativeBias = { table: get(relativeTableName(stack)), bidirectional: isEncoder, maxDistance };
    return {
      path,
      attention: attention(`${path}.attention`, name(0), 'SelfAttention', choice.attention, {
        relativeBias,
        ...(!isEncoder && { causal: true }),
      }),
      feedForward: feedForward(`${path}.feedForward`, name(SUBLAYERS[stack].feedForward), choice.feedForward),
    };
  };

  const decoderBlock = (index: number): DecoderBlock => {
    const path = `decoder.${index}`;
    const { crossAttention } = resolveChoice(path, levels);
    const sublayer = sublayerName('decoder', index, SUBLAYERS.decoder.crossAttention);
    return {
      ...block('decoder', index),
      crossAttention: attention(`${path}.crossAttention`, sublayer, 'EncDecAttention', crossAttention, {}),
    };
  };

  const indices = (stack: Stack): readonly number[] => [...Array(depthOf(config, stack)).keys()];
  return {
    config,
    embedding: get(EMBEDDING),
    encoder: {
      blocks: indices('encoder').map((index) => block('encoder', index)),
      norm: get(finalNormName('encoder')),
    },
    decoder: {
      blocks: indices('decoder').map(decoderBlock),
      norm: get(finalNormName('decoder')),
    },
    output: get(outputName(config)),
  };
}
