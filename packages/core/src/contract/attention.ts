import type { Shape } from './shape.js';

export interface RelativeBiasOptions {
  /** Encoder style when true (half of the buckets for keys after the query), decoder style when false. */
  readonly bidirectional: boolean;
  /** Distance from which all keys share the last bucket. */
  readonly maxDistance: number;
}

/** Everything about an attention call except its tensors. Pure data: planning and refusal need nothing else. */
export interface AttentionRequest {
  readonly batch: number;
  readonly queryHeads: number;
  readonly keyHeads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly dtype: 'f32' | 'f16';
  /** Kept keys per query, already clamped to keyLength; 'all' for exact attention. */
  readonly k: number | 'all';
  readonly scale: number;
  /**
   * Only with k 'all': the weight of a key is the sigmoid of its score plus this, and rows are not normalised. Undefined:
   * softmax.
   */
  readonly sigmoidShift?: number;
  readonly causal: boolean;
  /**
   * Position of the first query among the keys, if the caller gave it and causality or a relative bias makes it matter.
   * At most keyLength; with a relative bias, at most maxDistance more. Read it with `queryStartOf`.
   */
  readonly queryStart?: number;
  /** Shape of the mask, each dim 1 or full; undefined without one. */
  readonly mask?: Shape;
  readonly keyLengths: boolean;
  readonly bias?: Shape;
  readonly relativeBias?: RelativeBiasOptions & { readonly buckets: number };
  readonly dropout?: { readonly rate: number; readonly seed: number };
  /** True when the (index, score) lists are wanted: for the backward pass or for `returnIndices`. */
  readonly saves: boolean;
}

export interface AttentionInputs<T> {
  /** [B, Hq, Lq, D] */
  readonly q: T;
  /** [B, Hkv, Lk, D] */
  readonly k: T;
  /** [B, Hkv, Lk, Dv] */
  readonly v: T;
  /** bool, each dim 1 or that of [B, Hq, Lq, Lk]; true = keep */
  readonly mask?: T;
  /** i32 [B] */
  readonly keyLengths?: T;
  /** f32, each dim 1 or that of [B, Hq, Lq, Lk] */
  readonly bias?: T;
  /** f32 [buckets, Hq] */
  readonly relativeTable?: T;
}

export interface AttentionOutputs<T> {
  /** [B, Hq, Lq, Dv] */
  readonly output: T;
  /** i32 [B, Hq, Lq, k]: kept keys ascending, then -1. Present when `request.saves` asks for it and k is a number. */
  readonly indices?: T;
  /** f32 [B, Hq, Lq, k]: scores of the kept keys (scale and biases included), -inf in unused slots, NaN in NaN rows. */
  readonly scores?: T;
}

export interface AttentionBackwardInputs<T> extends AttentionInputs<T> {
  readonly indices?: T;
  readonly scores?: T;
  /** [B, Hq, Lq, Dv] */
  readonly dOutput: T;
}

export interface AttentionGradients<T> {
  readonly q: T;
  readonly k: T;
  readonly v: T;
  readonly bias?: T;
  readonly relativeTable?: T;
}
