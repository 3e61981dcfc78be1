import type { Activation, FeedForwardSelect } from '../contract/feed-forward.js';
import {
  aBoolean,
  aNumber,
  aTensor,
  checkedLater,
  type OptionKinds,
  oneOf,
  required,
} from '../tensor/read-options.js';
import type { Tensor } from '../tensor/tensor.js';

/** Weights of a feed-forward layer: act(x wIn + bIn) [* (x wGate)] wOut + bOut. */
export interface FeedForwardWeights {
  /** [D, F] */
  readonly wIn: Tensor;
  /** [F] */
  readonly bIn?: Tensor;
  /** [D, F]: makes the layer gated, as in T5 v1.1. */
  readonly wGate?: Tensor;
  /** [F, Dout] */
  readonly wOut: Tensor;
  /** [Dout] */
  readonly bOut?: Tensor;
}

export interface FeedForwardOptions {
  /** Hidden units kept per token; F or more keeps them all. */
  readonly k: number;
  /** Default 'relu'. */
  readonly activation?: Activation;
  /**
   * What ranks the hidden units: their raw dot products (the paper, section "feed-forward"), or the size of each unit's
   * contribution to the output, |act(s) g| * ||wOut row||. Default 'preactivation'.
   */
  readonly select?: FeedForwardSelect;
  /** Tokens per chunk. Default: planned. */
  readonly tokenChunk?: number;
  /** Upper bound in bytes for all but the inputs. Default: none. */
  readonly budgetBytes?: number;
}

/** Sizes alone: what planning and `explainFeedForward` need. */
export interface FeedForwardSizes {
  readonly tokens: number;
  /** D */
  readonly inputDim: number;
  /** F */
  readonly hidden: number;
  /** Dout */
  readonly outputDim: number;
  /** With a wGate. Default false. */
  readonly gated?: boolean;
  /** With a bIn. Default false. */
  readonly biasIn?: boolean;
  /** With a bOut. Default false. */
  readonly biasOut?: boolean;
  /** Storage type of x and the weights. Default 'f32'. */
  readonly dtype?: 'f32' | 'f16';
}

export const feedForwardKinds: OptionKinds<FeedForwardOptions> = {
  k: checkedLater(),
  activation: oneOf('relu', 'gelu', 'gelu_tanh', 'silu'),
  select: oneOf('preactivation', 'contribution'),
  tokenChunk: aNumber,
  budgetBytes: aNumber,
};

export const weightKinds: OptionKinds<FeedForwardWeights> = {
  wIn: required(aTensor),
  bIn: aTensor,
  wGate: aTensor,
  wOut: required(aTensor),
  bOut: aTensor,
};

export const sizeKinds: OptionKinds<FeedForwardSizes> = {
  tokens: required(aNumber),
  inputDim: required(aNumber),
  hidden: required(aNumber),
  outputDim: required(aNumber),
  gated: aBoolean,
  biasIn: aBoolean,
  biasOut: aBoolean,
  dtype: oneOf('f32', 'f16'),
};
