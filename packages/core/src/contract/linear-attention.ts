import type { Shape } from './shape.js';

/** Everything about a call of linear attention except its tensors. */
export interface LinearAttentionRequest {
  readonly batch: number;
  readonly queryHeads: number;
  readonly keyHeads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  /** F: width of the features. */
  readonly features: number;
  readonly valueDim: number;
  /** Storage type of features, values and output; everything else is f32. */
  readonly dtype: 'f32' | 'f16';
  /** Key j is visible to query i when j <= i + Lk - Lq. */
  readonly causal: boolean;
  /** Whether the sums are divided by the sums of the weights. */
  readonly normalise: boolean;
  /** Added to the denominators. */
  readonly epsilon: number;
  /** Denominators below it are raised to it; -inf for none. */
  readonly leastDenominator: number;
  readonly keyLengths: boolean;
  /** Shape of the mask of keys: [B, Lk] or [1, Lk]; undefined without one. */
  readonly keyMask?: Shape;
  readonly keyLogScale: boolean;
  /** Whether sums over earlier keys are given. */
  readonly continues: boolean;
  /** Whether the sums over all keys are wanted. */
  readonly returnsState: boolean;
  /** True when the denominators are wanted, for the backward pass. */
  readonly saves: boolean;
}

export interface LinearAttentionInputs<T> {
  /** [B, Hq, Lq, F] */
  readonly queryFeatures: T;
  /** [B, Hkv, Lk, F] */
  readonly keyFeatures: T;
  /** [B, Hkv, Lk, Dv] */
  readonly value: T;
  /** bool [B, Lk] or [1, Lk]; true = keep */
  readonly keyMask?: T;
  /** i32 [B] */
  readonly keyLengths?: T;
  /** f32 [B, Hkv, Lk]: the features of key j are exp of this times `keyFeatures`; -inf hides a key. */
  readonly keyLogScale?: T;
  /** f32 [B, Hkv, F, Dv]: sums of phi(k) v over earlier keys, over exp(logScaleBefore). */
  readonly sumsBefore?: T;
  /** f32 [B, Hkv, F]: sums of phi(k) over earlier keys, over exp(logScaleBefore). */
  readonly totalBefore?: T;
  /** f32 [B, Hkv]: the largest log scale of the earlier keys. Given with `keyLogScale` only. */
  readonly logScaleBefore?: T;
}

export interface LinearAttentionOutputs<T> {
  /** [B, Hq, Lq, Dv] */
  readonly output: T;
  /** The state after all keys, when `request.returnsState`; shapes as of the inputs. */
  readonly sums?: T;
  readonly total?: T;
  /** Only with `request.keyLogScale`. */
  readonly logScale?: T;
  /**
   * f32 [B, Hq, Lq], when `request.saves` and `request.normalise`: what each row was divided by, 0 for a row of zeros.
   * With log scales, relative to exp of the largest one that the query sees.
   */
  readonly denominators?: T;
}

export interface LinearAttentionBackwardInputs<T> extends LinearAttentionInputs<T> {
  readonly denominators?: T;
  /** [B, Hq, Lq, Dv] */
  readonly dOutput: T;
}

/** Gradients of what is given. */
export interface LinearAttentionGradients<T> {
  readonly queryFeatures: T;
  readonly keyFeatures: T;
  readonly value: T;
  readonly keyLogScale?: T;
  readonly sumsBefore?: T;
  readonly totalBefore?: T;
  readonly logScaleBefore?: T;
}
