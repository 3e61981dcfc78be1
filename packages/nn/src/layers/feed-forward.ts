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
import { handOver, type KeptUnits } from '../trace.js';
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
    return traced(
      run,
      path,
      output,
      () => keptUnits(x, weights, options),
      () => weights.wOut,
    );
  });
}

/**
 * A layer's output after the hooks have seen its units, and with the activations that they override.
 *
 * @param kept the units, asked for only if there is a hook
 * @param wOut [F, Dout]
 */
export function traced(
  { trace }: Run,
  path: string,
  output: Tensor,
  kept: () => KeptUnits,
  wOut: () => Tensor,
): Tensor {
  const override = trace?.overrideActivations?.(path);
  if (trace?.onFeedForward === undefined && override === undefined) return output;
  const units = kept();
  trace?.onFeedForward?.(path, {
    indices: handOver(units.indices),
    activations: handOver(units.activations),
  });
  return override === undefined ? output : add(output, overrideChange(path, override, units, wOut()));
}

/** How the layer would run on that many tokens: its path and its plan. Runs nothing. @throws TopKError DOES_NOT_FIT. */
export function explainFeedForwardLayer(
  backend: Backend,
  layer: FeedForwardLayer,
  tokens: number,
  run: Pick<Run, 'budgetBytes'> = {},
): Explanation<FeedForwardPlan> {
  const { wIn, bIn, wGate, wOut, bOut } = layer.weights;
  const [inputDim, hidden] = wIn.shape as readonly [number, number];
  const sizes = {
    ...{ tokens, inputDim, hidden, outputDim: wOut.shape[1] as number, gated: wGate !== undefined },
    ...{ biasIn: bIn !== undefined, biasOut: bOut !== undefined },
  };
  return explainFeedForward(backend, sizes, optionsOf(layer, run));
}

function optionsOf(
  { choice, weights, activation }: FeedForwardLayer,
  { budgetBytes }: Pick<Run, 'budgetBytes'>,
): FeedForwardOptions {
  const kept = choice === 'exact' ? { k: weights.wIn.shape[1] as number } : choice;
  return { ...kept, activation, ...(budgetBytes !== undefined && { budgetBytes }) };
}
