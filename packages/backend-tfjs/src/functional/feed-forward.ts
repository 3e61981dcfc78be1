import {
  aNumber,
  checkedLater,
  topKFeedForward as coreTopKFeedForward,
  type FeedForwardOptions,
  type FeedForwardWeights,
  type OptionKinds,
  oneOf,
  readOptions,
  type Tensor,
} from '@topk-attention/core';
import { feedForwardBackward, feedForwardForward } from '@topk-attention/core/backend';
import type { Tf, TfTensor } from '../tf.js';
import { backendOf } from './backend-of.js';
import { differentiable } from './differentiable.js';
import { requireK } from './require-k.js';
import { requireTensors } from './require-tensors.js';

/** Weights of a feed-forward layer, all float32: act(x wIn + bIn) [* (x wGate)] wOut + bOut. */
export interface TfFeedForwardWeights {
  /** [D, F] */
  readonly wIn: TfTensor;
  /** [F] */
  readonly bIn?: TfTensor;
  /** [D, F]: makes the layer gated, as in T5 v1.1. */
  readonly wGate?: TfTensor;
  /** [F, Dout] */
  readonly wOut: TfTensor;
  /** [Dout] */
  readonly bOut?: TfTensor;
}

const feedForwardKinds: OptionKinds<FeedForwardOptions> = {
  k: checkedLater(),
  activation: oneOf('relu', 'gelu', 'gelu_tanh', 'silu'),
  select: oneOf('preactivation', 'contribution'),
  tokenChunk: aNumber,
  budgetBytes: aNumber,
};

// `requireTensors` checks the tensors.
const weightKinds: OptionKinds<TfFeedForwardWeights> = {
  wIn: checkedLater(),
  bIn: checkedLater(),
  wGate: checkedLater(),
  wOut: checkedLater(),
  bOut: checkedLater(),
};

/**
 * A feed-forward layer in which every token keeps only its k best hidden units: the layer read as attention with tokens
 * as queries and hidden units as keys and values (paper section 1.9). With at most k positive pre-activations under
 * ReLU the result is exact.
 *
 * x [..., D], wIn [D, F], wOut [F, Dout] -> [..., Dout], all float32. Ties go to the lower unit; a NaN pre-activation
 * makes the token's output NaN. Options as core's: `k`, `activation` (default 'relu'), `select` (default
 * 'preactivation'), `tokenChunk`, `budgetBytes`.
 *
 * Returns an ordinary tensor, as `topKAttention` does. Differentiable with respect to x and all weights: the tape keeps
 * 8 k bytes per token. Second-order gradients are refused.
 *
 * @throws TopKError as `topKAttention`.
 *
 * @example
 * const y = topKFeedForward(tf, x, { wIn, bIn, wOut, bOut }, { k: 64, activation: 'gelu' });
 */
export function topKFeedForward(
  tf: Tf,
  x: TfTensor,
  weights: TfFeedForwardWeights,
  given: FeedForwardOptions,
): TfTensor {
  const name = 'topKFeedForward';
  const { k, ...rest } = readOptions(name, given, feedForwardKinds);
  const options: FeedForwardOptions = { ...rest, k: requireK(name, k) };
  const { wIn, bIn, wGate, wOut, bOut } = readOptions(`${name}: weights`, weights, weightKinds);
  const backend = backendOf(tf);
  requireTensors(tf, name, { x, wIn, wOut }, { bIn, wGate, bOut });

  /** Maps tensors, in the order of `inputs` below, to their roles. */
  const bind = (tensors: readonly Tensor[]): { x: Tensor; weights: FeedForwardWeights } => {
    const [tokens, first, ...rest] = tensors as readonly [Tensor, Tensor, ...Tensor[]];
    const boundBias = bIn && rest.shift();
    const boundGate = wGate && rest.shift();
    const [second, boundBiasOut] = rest as [Tensor, Tensor?];
    return {
      x: tokens,
      weights: {
        wIn: first,
        ...(boundBias && { bIn: boundBias }),
        ...(boundGate && { wGate: boundGate }),
        wOut: second,
        ...(boundBiasOut && { bOut: boundBiasOut }),
      },
    };
  };
  const apply = (flat: TfTensor): TfTensor =>
    differentiable(
      tf,
      backend,
      {
        name,
        inputs: [flat, wIn, bIn, wGate, wOut, bOut].filter((one) => one !== undefined),
        constants: [],
        forward(inputs, _constants, saves) {
          const bound = bind(inputs);
          if (!saves) return { output: coreTopKFeedForward(bound.x, bound.weights, options), lists: [] };
          const { output, kept } = feedForwardForward(bound.x, bound.weights, options);
          return { output, lists: kept ? [kept.indices, kept.preactivations] : [] };
        },
        backward(inputs, _constants, [indices, preactivations], dOutput) {
          const bound = bind(inputs);
          const kept = indices && preactivations && { indices, preactivations };
          const made = feedForwardBackward(bound.x, bound.weights, options, kept, dOutput);
          return [made.x, made.wIn, made.bIn, made.wGate, made.wOut, made.bOut].filter(
            (one) => one !== undefined,
          );
        },
      },
      false,
    ).output;
  // Tensors of rank 0 and 1 go unchanged to core, which refuses them.
  if (x.rank <= 2) return apply(x);
  const lead = x.shape.slice(0, -1);
  const tokens = lead.reduce((product, extent) => product * extent, 1);
  return tf.tidy(() => {
    const output = apply(tf.reshape(x, [tokens, x.shape.at(-1) ?? 0]));
    return tf.reshape(output, [...lead, output.shape[1] ?? 0]);
  });
}
