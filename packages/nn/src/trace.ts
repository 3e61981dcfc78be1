import { aFunction, type OptionKinds, type Tensor } from '@topk-attention/core';

/** What an attention layer kept for each query. Slots are in ascending key order; unused ones come last. */
export interface KeptKeys {
  /** i32 [B, H, Lq, kept]; -1 in unused slots. */
  readonly indices: Tensor;
  /** f32, same shape: scaled scores, biases included; -Infinity in unused slots. */
  readonly scores: Tensor;
  /** f32, same shape: softmax of the scores, before dropout; 0 in unused slots. */
  readonly weights: Tensor;
}

/** What a feed-forward layer kept for each token. */
export interface KeptUnits {
  /** i32 [..., kept]: hidden units in ascending order. */
  readonly indices: Tensor;
  /** [..., kept]: each unit's factor of its row of the output weights, act(pre-activation) [* gate]. */
  readonly activations: Tensor;
}

/** Activations to use instead of the layer's own. */
export interface ActivationOverride {
  /** Hidden units, each at most once. A unit that a token did not keep has activation 0 there. */
  readonly units: readonly number[];
  /**
   * One number for all, a tensor [..., units.length] with the layer's leading dims, or a function of the layer's own
   * activations of that shape, which it borrows. Tensors that the function makes are freed after the layer.
   */
  readonly activations: number | Tensor | ((own: Tensor) => Tensor);
}

/**
 * Hooks into a network. Each is called synchronously with the path of the layer, such as 'encoder.0.attention'. Tensors
 * passed to an `on...` hook belong to the hook: read them at any time, and dispose of them. Nothing is read back unless
 * the hook does so.
 */
export interface Trace {
  /**
   * Keys and weights of each attention layer. A layer that keeps all keys reports them all, which takes as much memory
   * as all scores. A layer whose attention is a function reports nothing, since what it keeps is unknown.
   */
  readonly onAttention?: (path: string, kept: KeptKeys) => void;
  /** Units and activations of each feed-forward layer, before overrides. A layer that keeps all reports all. */
  readonly onFeedForward?: (path: string, kept: KeptUnits) => void;
  /** The residual stream [B, L, D] in front of each feed-forward layer and its norm: what its output is added to. */
  readonly onBeforeFeedForward?: (path: string, x: Tensor) => void;
  /** The residual stream [B, L, D] after each block, before overrides. */
  readonly onResidual?: (path: string, x: Tensor) => void;
  /** Replaces activations of a feed-forward layer; undefined leaves them unchanged. The caller keeps its tensors. */
  readonly overrideActivations?: (path: string) => ActivationOverride | undefined;
  /** Replaces the residual stream after a block, [B, L, D]; undefined leaves it unchanged. `x` is borrowed. */
  readonly overrideResidual?: (path: string, x: Tensor) => Tensor | undefined;
}

/** Option kinds for functions that accept trace hooks among their options. */
export const traceKinds: OptionKinds<Trace> = {
  onAttention: aFunction(),
  onFeedForward: aFunction(),
  onBeforeFeedForward: aFunction(),
  onResidual: aFunction(),
  overrideActivations: aFunction(),
  overrideResidual: aFunction(),
};

/** A handle for a hook, which no scope around the layer disposes of. */
export function handOver(x: Tensor): Tensor {
  return x.unscopedAlias();
}
