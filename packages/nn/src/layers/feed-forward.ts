import {
  type Activation,
  add,
  type Backend,
  type Explanation,
  explainFeedForward,
  type FeedForwardOptions,
  type FeedForwardPlan,
  type FeedForwardSelect,
  type FeedForwardWeights,
  scope,
  type Tensor,
  topKFeedForward,
} from '@topk-attention/core';
import type { Run } from '../run.js';
import { handOver } from '../trace.js';
import { keptUnits, overrideChange } from './feed-forward-trace.js';

/** All hidden units, or the k best of each token; `select` says what ranks them (default 'preactivation', as in the paper). */
export type FeedForwardChoice = 'exact' | { readonly k: number; readonly select?: FeedForwardSelect };

/** A feed-forward layer: everything about it except its input. */
export interface FeedForwardLayer {
  /** Its name for hooks: 'encoder.0.feedForward'. */
  readonly path: string;
  readonly weights: FeedForwardWeights;
  readonly activation: Activation;
  readonly choice: FeedForwardChoice;
}

/** The layer on x [..., D] -> [..., Dout]. */
export function feedForward(run: Run, layer: FeedForwardLayer, x: Tensor): Tensor {
  const { path, weights } = layer;
  const options = optionsOf(layer, run);
  return scope(() => {
    const output = topKFeedForward(x, weights, options);
    const { onFeedForward, overrideActivations } = run.trace ?? {};
    const override = overrideActivations?.(path);
    if (onFeedForward === undefined && override === undefined) return output;
    const { indices, activations } = keptUnits(x, weights, options);
    onFeedForward?.(path, { indices: handOver(indices), activations: handOver(activations) });
    if (override === undefined) return output;
    return add(output, overrideChange(path, override, { indices, activations }, weights.wOut));
  });
}

/** How the layer would run on that many tokens: its path and its plan. Runs nothing. @throws TopKError DOES_NOT_FIT. */
export function explainFeedForwardLayer(
  backend: Backend,
  layer: FeedForwardLayer,
  tokens: number,
  run: Pick<Run, 'budgetBytes'> = {},
): Explanation<FeedForwardPlan> {
  const { wIn, wGate, wOut } = layer.weights;
  const [inputDim, hidden] = wIn.shape as readonly [number, number];
  const sizes = { tokens, inputDim, hidden, outputDim: wOut.shape[1] as number, gated: wGate !== undefined };
  return explainFeedForward(backend, sizes, optionsOf(layer, run));
}

function optionsOf(
  { choice, weights, activation }: FeedForwardLayer,
  { budgetBytes }: Pick<Run, 'budgetBytes'>,
): FeedForwardOptions {
  const kept = choice === 'exact' ? { k: weights.wIn.shape[1] as number } : choice;
  return { ...kept, activation, ...(budgetBytes !== undefined && { budgetBytes }) };
}
