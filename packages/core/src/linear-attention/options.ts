import type { Shape } from '../contract/shape.js';
import {
  aBoolean,
  aNumber,
  anArray,
  aTensor,
  type OptionKinds,
  oneOf,
  optionsWithin,
  required,
} from '../tensor/read-options.js';
import type { Tensor } from '../tensor/tensor.js';

/** Sums over keys, in f32: all that later queries need of them. Its size does not depend on their number. */
export interface LinearAttentionState {
  /** [B, Hkv, F, Dv]: the sum of phi(k) v^T. */
  readonly sums: Tensor;
  /** [B, Hkv, F]: the sum of phi(k). */
  readonly total: Tensor;
  /** [B, Hkv], with `keyLogScale` only: the largest of them. `sums` and `total` are relative to its exp. */
  readonly logScale?: Tensor;
}

export interface LinearAttentionOptions {
  /** Key j is visible to query i when j <= i + Lk - Lq. Default false. */
  readonly causal?: boolean;
  /**
   * Divide by the sum of the weights, so that the output is a mean of values. Leave it on for features that are nowhere
   * negative; with false the output is the plain sum, as for features of both signs. Default true.
   */
  readonly normalise?: boolean;
  /** Added to the sum of the weights before dividing, at least 0. Default 0; a row whose divisor is 0 gives zeros. */
  readonly epsilon?: number;
  /**
   * Divisors below this are raised to it, a positive number: for features whose products may be negative, such as random
   * Fourier features. Default: none.
   */
  readonly leastDenominator?: number;
  /** bool [B, Lk] or [1, Lk]; true = keep. */
  readonly keyMask?: Tensor;
  /** i32 [B]: keys from this index on are hidden. */
  readonly keyLengths?: Tensor;
  /**
   * f32 [B, Hkv, Lk]: the weights of key j are exp of this times those of its features; -inf hides the key. Rows are
   * computed relative to the largest one that the query sees, so exp does not overflow. For features whose range exceeds
   * that of f32, and for gates that decay. Needs `normalise`, and neither `epsilon` nor `leastDenominator`. Differentiable.
   */
  readonly keyLogScale?: Tensor;
  /** Sums over earlier keys, which all queries see: `state` of a call with `returnState`. Differentiable. */
  readonly state?: LinearAttentionState;
  /** Also return the sums over all keys, earlier ones included, for the next call. Default false. */
  readonly returnState?: boolean;
  /** Tokens per chunk. Default: planned. */
  readonly chunk?: number;
  /** Upper bound in bytes for all but the inputs; planned before anything is allocated. Default: none. */
  readonly budgetBytes?: number;
}

/** Shapes alone: what planning and `explainLinearAttention` need. */
export interface LinearAttentionShapes {
  /** [B, Hq, Lq, F] */
  readonly queryFeatures: Shape;
  /** [B, Hkv, Lk, F]; Hq is a multiple of Hkv */
  readonly keyFeatures: Shape;
  /** [B, Hkv, Lk, Dv] */
  readonly value: Shape;
  /** Storage type of features and values. Default 'f32'. */
  readonly dtype?: 'f32' | 'f16';
}

const stateKinds: OptionKinds<LinearAttentionState> = {
  sums: required(aTensor),
  total: required(aTensor),
  logScale: aTensor,
};

export const linearKinds: OptionKinds<LinearAttentionOptions> = {
  causal: aBoolean,
  normalise: aBoolean,
  epsilon: aNumber,
  leastDenominator: aNumber,
  keyMask: aTensor,
  keyLengths: aTensor,
  keyLogScale: aTensor,
  state: optionsWithin(stateKinds),
  returnState: aBoolean,
  chunk: aNumber,
  budgetBytes: aNumber,
};

export const linearShapeKinds: OptionKinds<LinearAttentionShapes> = {
  queryFeatures: required(anArray()),
  keyFeatures: required(anArray()),
  value: required(anArray()),
  dtype: oneOf('f32', 'f16'),
};
