import type { Tensor } from '@topk-attention/core';
import type { FeedForwardLayer, HeadAttention, ParameterTree } from '@topk-attention/nn';
import { checkParameters } from '../checkpoint/check-parameters.js';
import { resolveChoice, type StackChoices } from '../choices.js';
import type { CausalLMConfig } from './config.js';
import { causalLMParameterSpecs, namesOf, outputName } from './weights.js';

/** A linear layer, weight [in, out]. */
interface Projection {
  readonly weight: Tensor;
  readonly bias?: Tensor;
}

/** A layer norm, or without a bias an RMS norm where the configuration says so. */
export interface Norm {
  readonly weight: Tensor;
  readonly bias?: Tensor;
}

/** How queries, keys and values are made. */
export interface HeadProjections {
  /** One projection of all three, side by side (GPT-2), or one of each. */
  readonly projections: readonly [all: Projection] | readonly [q: Projection, k: Projection, v: Projection];
  /** [headDim]: of each query and each key, before they are rotated. */
  readonly queryNorm?: Norm;
  readonly keyNorm?: Norm;
}

/** A block: x + attention(norm(x)), then the same with the feed-forward layer. */
export interface CausalBlock {
  /** 'decoder.0' */
  readonly path: string;
  readonly attentionNorm: Norm;
  readonly heads: HeadProjections;
  readonly attention: HeadAttention;
  readonly feedForwardNorm: Norm;
  readonly feedForward: FeedForwardLayer;
}

/** A decoder-only model as layers: built from configuration, parameters and choices, then applied. Owns no tensor. */
export interface CausalLayers {
  readonly config: CausalLMConfig;
  /** [vocabSize, dModel] */
  readonly embedding: Tensor;
  /** Learned positions [maxPositions, dModel]. */
  readonly positions?: Tensor;
  readonly blocks: readonly CausalBlock[];
  readonly norm: Norm;
  /** [vocabSize, dModel] */
  readonly output: Tensor;
}

/**
 * @param levels choices, the nearest first
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH for parameters that are not those of the configuration.
 */
export function causalLayers(
  config: CausalLMConfig,
  parameters: ParameterTree,
  levels: readonly StackChoices[],
): CausalLayers {
  checkParameters('CausalLM', causalLMParameterSpecs(config), parameters);
  const names = namesOf(config);
  const get = (name: string): Tensor => parameters[name] as Tensor;
  /** A weight, and the bias beside it if the model has one. */
  const pair = (name: string): Projection & Norm => {
    const bias: Tensor | undefined = parameters[`${name}.bias`];
    return { weight: get(`${name}.weight`), ...(bias && { bias }) };
  };

  const block = (index: number): CausalBlock => {
    const path = `decoder.${index}`;
    const name = names.block(index);
    const choice = resolveChoice(path, levels);
    const attention = `${name}.${names.attention}`;
    const output = pair(`${attention}.${config.layout === 'gpt2' ? 'c_proj' : 'o_proj'}`);
    return {
      path,
      attentionNorm: pair(`${name}.${names.attentionNorm}`),
      heads: {
        projections:
          config.layout === 'gpt2'
            ? [pair(`${attention}.c_attn`)]
            : [pair(`${attention}.q_proj`), pair(`${attention}.k_proj`), pair(`${attention}.v_proj`)],
        ...(config.headNorms && {
          queryNorm: pair(`${attention}.q_norm`),
          keyNorm: pair(`${attention}.k_norm`),
        }),
      },
      attention: {
        path: `${path}.attention`,
        weights: { o: output.weight, ...(output.bias && { oBias: output.bias }) },
        scale: scaleOf(config, index),
        choice: choice.attention,
        sequence: { causal: true },
        dropout: config.dropout.attention,
      },
      feedForwardNorm: pair(`${name}.${names.feedForwardNorm}`),
      feedForward: {
        path: `${path}.feedForward`,
        weights: feedForwardWeights(config, `${name}.${names.feedForward}`, pair),
        activation: config.activation,
        choice: choice.feedForward,
      },
    };
  };

  return {
    config,
    embedding: get(names.embedding),
    ...(names.positions !== undefined && { positions: get(names.positions) }),
    blocks: Array.from({ length: config.layers }, (_, index) => block(index)),
    norm: pair(names.norm),
    output: get(outputName(config)),
  };
}

function scaleOf({ headDim, scoreScale }: CausalLMConfig, index: number): number {
  return (scoreScale.byWidth ? headDim ** -0.5 : 1) / (scoreScale.byLayer ? index + 1 : 1);
}

function feedForwardWeights(
  { layout }: CausalLMConfig,
  name: string,
  pair: (name: string) => Projection,
): FeedForwardLayer['weights'] {
  if (layout === 'gpt2') {
    const [into, out] = [pair(`${name}.c_fc`), pair(`${name}.c_proj`)];
    return {
      ...{ wIn: into.weight, ...(into.bias && { bIn: into.bias }) },
      ...{ wOut: out.weight, ...(out.bias && { bOut: out.bias }) },
    };
  }
  // What Llama calls the gate is what goes through the activation: core's wIn.
  const [gate, up, down] = ['gate_proj', 'up_proj', 'down_proj'].map((one) => pair(`${name}.${one}`).weight);
  return { wIn: gate as Tensor, wGate: up as Tensor, wOut: down as Tensor };
}
