import {
  type FeedForwardWeights,
  matmul,
  mul,
  rmsNorm,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { Trace } from '@topk-attention/nn';
import { logitsOf as causalLogits } from '../causal-lm/blocks.js';
import { causalLayers } from '../causal-lm/layers.js';
import type { CausalLM } from '../causal-lm/model.js';
import type { Encoder } from '../encoder/model.js';
import { t5Layers } from '../t5/layers.js';
import type { T5 } from '../t5/model.js';
import { logitsOf as t5Logits } from '../t5/stacks.js';

/** What a run of the model is fed. */
export interface StackInputs {
  /** Of the prompt. */
  readonly ids: readonly number[];
  /** Of the answer so far, for the decoder of a T5. */
  readonly target: readonly number[];
}

/** The blocks of one stack of a model, as inspection needs them. Owns no tensor. */
export interface InspectedStack {
  readonly name: 'encoder' | 'decoder';
  /** 'decoder.0', ... */
  readonly paths: readonly string[];
  /** Of the feed-forward layer of each block. */
  readonly weights: readonly FeedForwardWeights[];
  /** [vocabSize, dModel] */
  readonly output: Tensor;
  /** Logits [1, L, vocabSize] of a residual stream [1, L, dModel], through the stack's last norm. */
  logits(x: Tensor): Tensor;
  /** The tokens at the positions of the stack. */
  tokens(inputs: StackInputs): readonly number[];
  /** Runs the model as far as this stack. */
  run(inputs: StackInputs, trace: Trace): void;
}

/**
 * @param name the encoder's is for a T5
 * @throws TopKError UNSUPPORTED for a model that writes no text, INVALID_OPTION for an encoder that the model lacks.
 */
export function stackOf(
  where: string,
  model: T5 | CausalLM | Encoder,
  name: 'encoder' | 'decoder',
): InspectedStack {
  if (isT5(model)) return t5Stack(model, name);
  if (!('generate' in model)) {
    throw new TopKError('UNSUPPORTED', `${where}: an encoder predicts no next token`, {
      expected: 'a T5 or a decoder-only model',
      got: 'a model of the BERT family',
    });
  }
  if (name === 'decoder') return causalStack(model);
  throw new TopKError('INVALID_OPTION', `${where}: the model has no encoder`, {
    expected: "stack: 'decoder'",
    got: "'encoder'",
  });
}

function isT5(model: T5 | CausalLM | Encoder): model is T5 {
  return 'generate' in model && 'encode' in model;
}

function t5Stack(model: T5, name: 'encoder' | 'decoder'): InspectedStack {
  const { config, parameters } = model;
  const layers = t5Layers(config, parameters, []);
  const { blocks } = layers[name];
  const fed = ({ target }: StackInputs): readonly number[] => [config.decoderStartId, ...target];
  return {
    name,
    paths: blocks.map(({ path }) => path),
    weights: blocks.map(({ feedForward }) => feedForward.layer.weights),
    output: layers.output,
    logits: (x) => {
      if (name === 'decoder') return t5Logits({ training: false }, layers, x);
      return scope(() => {
        const normal = rmsNorm(x, layers.encoder.norm, config.epsilon);
        const scaled = config.scaledOutputs ? mul(normal, config.dModel ** -0.5) : normal;
        return matmul(scaled, layers.output, { transposeB: true });
      });
    },
    tokens: (inputs) => (name === 'encoder' ? inputs.ids : fed(inputs)),
    run: (inputs, trace) => {
      const made =
        name === 'encoder'
          ? model.encode([inputs.ids], { trace })
          : model.logits([inputs.ids], [fed(inputs)], { trace });
      made.dispose();
    },
  };
}

function causalStack(model: CausalLM): InspectedStack {
  const layers = causalLayers(model.config, model.parameters, []);
  return {
    name: 'decoder',
    paths: layers.blocks.map(({ path }) => path),
    weights: layers.blocks.map(({ feedForward }) => feedForward.weights),
    output: layers.output,
    logits: (x) => causalLogits(layers, x),
    tokens: ({ ids }) => ids,
    run: ({ ids }, trace) => model.logits([ids], { trace }).dispose(),
  };
}
