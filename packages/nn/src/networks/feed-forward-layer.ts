import {
  type Activation,
  aBoolean,
  aFunction,
  aNumber,
  type FeedForwardSelect,
  type FeedForwardWeights,
  linear,
  mul,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  scope,
  type Tensor,
  TopKError,
  transpose,
} from '@topk-attention/core';
import { type Context, parameterOf, within } from '../context.js';
import type { Initializer } from '../declared/initializers.js';
import { dropout } from '../layers/dropout.js';
import { type FeedForwardChoice, feedForward } from '../layers/feed-forward.js';
import { requireWhole } from '../require.js';
import { requireRate } from './dropout-layer.js';
import { defineLayer, type Layer } from './layer.js';
import { linearLayer } from './linear-layer.js';
import { requireWidth } from './require-width.js';

export interface FeedForwardLayerSettings {
  /** Default 'relu'. */
  readonly activation?: Activation;
  /** act(x linear1) * (x linear_gate), as in T5 v1.1 and LLaMA; the gate has no bias. Default false. */
  readonly gated?: boolean;
  /** Whether linear1 and linear2 have a bias. Default true. */
  readonly bias?: boolean;
  /** Hidden units that each token keeps. Default: all. */
  readonly k?: number;
  /** What ranks them. Default 'preactivation'. */
  readonly select?: FeedForwardSelect;
  /** Rate at which hidden units are dropped in training; cannot be combined with k. Default 0. */
  readonly dropout?: number;
  /** For the weights. Default as in PyTorch's linear layer. */
  readonly initializer?: Initializer;
}

export interface FeedForwardLayerOptions extends FeedForwardLayerSettings {
  readonly width: number;
  /** Hidden units. */
  readonly hidden: number;
}

export const feedForwardSettingKinds: OptionKinds<FeedForwardLayerSettings> = {
  activation: oneOf('relu', 'gelu', 'gelu_tanh', 'silu'),
  gated: aBoolean,
  bias: aBoolean,
  k: aNumber,
  select: oneOf('preactivation', 'contribution'),
  dropout: aNumber,
  initializer: aFunction(),
};

const kinds: OptionKinds<FeedForwardLayerOptions> = {
  width: required(aNumber),
  hidden: required(aNumber),
  ...feedForwardSettingKinds,
};

/**
 * x [..., width] -> [..., width] through a hidden layer; each token uses all hidden units or its k best. Parameters
 * `linear1.*`, `linear2.*` and, if gated, `linear_gate.weight`. With all units, the hidden units of all tokens are in
 * memory at once, and are kept for the backward pass; with a run's `budgetBytes`, as many tokens at a time as fit.
 *
 * @throws TopKError INVALID_OPTION; when applied MISSING_WEIGHT, SHAPE_MISMATCH, INVALID_K.
 *
 * @example
 * const layer = feedForwardLayer({ width: 8, hidden: 32, activation: 'gelu', k: 4 });
 */
export function feedForwardLayer(options: FeedForwardLayerOptions): Layer {
  const {
    width,
    hidden,
    activation = 'relu',
    gated = false,
    bias = true,
    k,
    select,
    dropout: rate = 0,
    initializer,
  } = readOptions('feedForwardLayer', options, kinds);
  requireWhole('feedForwardLayer', 'width', width, 1);
  requireWhole('feedForwardLayer', 'hidden', hidden, 1);
  if (k !== undefined) requireWhole('feedForwardLayer', 'k', k, 1);
  requireRate('feedForwardLayer', 'dropout', rate);
  if (k !== undefined && rate > 0) {
    throw new TopKError('INVALID_OPTION', 'feedForwardLayer: dropout of hidden units with top-k', {
      expected: 'k or dropout',
      got: `k ${k} and dropout ${rate}`,
      fix: 'Drop elements of the output instead, as encoder layers do',
    });
  }
  const choice: FeedForwardChoice = k === undefined ? 'exact' : { k, ...(select && { select }) };
  const given = initializer && { initializer };
  const linear1 = linearLayer(width, hidden, { bias, ...given });
  const gate = linearLayer(width, hidden, { bias: false, ...given });
  const linear2 = linearLayer(hidden, width, { bias, ...given });
  const parts = { linear1, ...(gated && { linear_gate: gate }), linear2 };

  /** With all units: as products, which keep the hidden units of all tokens at once. */
  const dense = (context: Context, x: Tensor): Tensor =>
    scope(() => {
      const apply = (name: string, of: Tensor, then?: Activation): Tensor => {
        const own = within(context, name);
        const hasBias = bias && name !== 'linear_gate';
        return linear(of, parameterOf(own, 'weight'), hasBias ? parameterOf(own, 'bias') : undefined, {
          transposeWeight: true,
          ...(then && { activation: then }),
        });
      };
      const activated = apply('linear1', x, activation);
      const units = gated ? mul(activated, apply('linear_gate', x)) : activated;
      return apply('linear2', dropout(context, within(context, 'hidden').path, units, rate));
    });

  return defineLayer(parts, (context, x: Tensor) => {
    requireWidth(context, x, width);
    const isDropping = context.training && rate > 0;
    // Hooks and budgets are the operation's.
    const { onFeedForward, overrideActivations } = context.trace ?? {};
    const isAsked = onFeedForward ?? overrideActivations ?? context.budgetBytes;
    if (isDropping || (k === undefined && isAsked === undefined)) return dense(context, x);
    const weight = (name: string): Tensor => transpose(parameterOf(context, `${name}.weight`));
    const weights: FeedForwardWeights = {
      wIn: weight('linear1'),
      wOut: weight('linear2'),
      ...(gated && { wGate: weight('linear_gate') }),
      ...(bias && { bIn: parameterOf(context, 'linear1.bias'), bOut: parameterOf(context, 'linear2.bias') }),
    };
    return feedForward(context, { path: context.path, weights, activation, choice }, x);
  });
}
