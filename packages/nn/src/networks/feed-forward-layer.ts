import {
  type Activation,
  aBoolean,
  aFunction,
  aNumber,
  arange,
  broadcastTo,
  type FeedForwardSelect,
  type FeedForwardWeights,
  formatBytes,
  linear,
  mul,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  scope,
  sizeOf,
  type Tensor,
  TopKError,
  transpose,
} from '@topk-attention/core';
import { type Context, parameterOf, within } from '../context.js';
import type { Initializer } from '../declared/initializers.js';
import { dropout } from '../layers/dropout.js';
import { type FeedForwardChoice, feedForward, traced } from '../layers/feed-forward.js';
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
    throw new TopKError(
      'INVALID_OPTION',
      'feedForwardLayer: top-k and dropout of hidden units exclude each other',
      {
        expected: 'either k or dropout',
        got: `k ${k} and dropout ${rate}`,
        fix: 'Drop elements of the output instead, as encoder layers do',
      },
    );
  }
  const choice: FeedForwardChoice = k === undefined ? 'exact' : { k, ...(select && { select }) };
  const given = initializer && { initializer };
  const linear1 = linearLayer(width, hidden, { bias, ...given });
  const gate = linearLayer(width, hidden, { bias: false, ...given });
  const linear2 = linearLayer(hidden, width, { bias, ...given });
  const parts = { linear1, ...(gated && { linear_gate: gate }), linear2 };

  /**
   * Uses all units of all tokens at once, in training dropping some between the two products. Hooks see and replace the
   * activations after that.
   */
  const dense = (context: Context, x: Tensor): Tensor =>
    scope(() => {
      requireBudget(context, sizeOf(x.shape.slice(0, -1)), hidden);
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
      const activations = dropout(context, within(context, 'hidden').path, units, rate);
      const output = apply('linear2', activations);
      return traced(
        context,
        context.path,
        output,
        () => ({ indices: broadcastTo(arange(x.backend, hidden), activations.shape), activations }),
        () => transpose(parameterOf(context, 'linear2.weight')),
      );
    });

  return defineLayer(parts, (context, x: Tensor) => {
    requireWidth(context, x, width);
    const isDropping = context.training && rate > 0;
    // The operation runs in chunks.
    if (isDropping || (k === undefined && context.budgetBytes === undefined)) return dense(context, x);
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

/** Activations of all units for all tokens: before and after the activation, the gate, their product, dropout's factors. */
const TENSORS_WITH_DROPOUT = 8;

/** Dropout needs the activations of all tokens at once: it cannot be cut into chunks for a budget. */
function requireBudget({ path, budgetBytes }: Context, tokens: number, hidden: number): void {
  const needed = TENSORS_WITH_DROPOUT * 4 * tokens * hidden;
  if (budgetBytes === undefined || needed <= budgetBytes) return;
  throw new TopKError('DOES_NOT_FIT', `${path}: dropout of hidden units does not fit`, {
    expected: `at most ${formatBytes(budgetBytes)} beyond the inputs`,
    got: formatBytes(needed),
    fix: 'Use fewer tokens at a time, a larger budgetBytes or dropout: 0, with which the layer runs in chunks',
  });
}
