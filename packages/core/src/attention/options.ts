import type { Shape } from '../contract/shape.js';
import {
  aBoolean,
  aNumber,
  anArray,
  aTensor,
  checkedLater,
  type OptionKinds,
  oneOf,
  optionsWithin,
  required,
} from '../tensor/read-options.js';
import type { Tensor } from '../tensor/tensor.js';

export interface AttentionOptions {
  /** Multiplies the dot products. Default: headDim ** -0.5. T5 uses 1. */
  readonly scale?: number;
  /** Key j is visible to query i when j <= i + queryStart. Default false. */
  readonly causal?: boolean;
  /**
   * Position of the first query among the keys, a whole number from 0: query i is at the position of key i +
   * queryStart. Shifts the `causal` mask and the positions of `relativeBias`; has no effect without either. When
   * decoding from a cache with spare room, pass the number of tokens before the queries: later keys are hidden,
   * whatever they hold. Default: Lk - Lq, so the last query is at the position of the last key (with more queries than
   * keys, the leading ones come before the first key).
   */
  readonly queryStart?: number;
  /** bool, each dim 1 or that of [B, Hq, Lq, Lk]; true = keep. */
  readonly mask?: Tensor;
  /** i32 [B]: keys from this index on are hidden. */
  readonly keyLengths?: Tensor;
  /** float, each dim 1 or that of [B, Hq, Lq, Lk], added to the scaled scores; -inf hides a key. Differentiable. */
  readonly bias?: Tensor;
  /**
   * T5's learned relative-position bias, computed per chunk from its [buckets, Hq] table. Needs at least 4 buckets and
   * a maxDistance above a quarter of them; one-sided, at least 2 buckets and a maxDistance above half. Differentiable.
   */
  readonly relativeBias?: {
    readonly table: Tensor;
    readonly bidirectional: boolean;
    readonly maxDistance: number;
  };
  /** Drops softmax weights with probability `rate`, keyed by (seed, batch, head, query, slot). Default: none. */
  readonly dropout?: { readonly rate: number; readonly seed: number };
  /** Queries per chunk. Default: planned. */
  readonly queryChunk?: number;
  /** Upper bound in bytes for all but the inputs; planned before anything is allocated. Default: none. */
  readonly budgetBytes?: number;
}

export interface ExactAttentionOptions extends AttentionOptions {
  /**
   * In place of softmax, weights are the sigmoid of each score plus this number, biases included, and rows are not
   * normalised: Ramapuram et al. (2025) take -log of the number of keys. Default: softmax.
   */
  readonly sigmoidShift?: number;
}

export interface TopKAttentionOptions extends AttentionOptions {
  /** Keys kept per query; a number above the key count keeps them all. */
  readonly k: number;
  /** Also return the kept key indices. Default false. */
  readonly returnIndices?: boolean;
}

/** Shapes alone: what planning and `explain` need. */
export interface AttentionShapes {
  /** [B, Hq, Lq, D] */
  readonly q: Shape;
  /** [B, Hkv, Lk, D]; Hq is a multiple of Hkv */
  readonly k: Shape;
  /** [B, Hkv, Lk, Dv] */
  readonly v: Shape;
  /** Storage type of q, k and v. Default 'f32'. */
  readonly dtype?: 'f32' | 'f16';
}

/** What the options of any attention may hold, for `readOptions`. */
export const attentionKinds: OptionKinds<AttentionOptions> = {
  scale: aNumber,
  causal: aBoolean,
  queryStart: aNumber,
  mask: aTensor,
  keyLengths: aTensor,
  bias: aTensor,
  relativeBias: optionsWithin({
    table: required(aTensor),
    bidirectional: required(aBoolean),
    maxDistance: required(aNumber),
  }),
  dropout: optionsWithin({ rate: required(aNumber), seed: required(aNumber) }),
  queryChunk: aNumber,
  budgetBytes: aNumber,
};

export const exactKinds: OptionKinds<ExactAttentionOptions> = { ...attentionKinds, sigmoidShift: aNumber };

export const topKKinds: OptionKinds<TopKAttentionOptions> = {
  k: checkedLater(),
  returnIndices: aBoolean,
  ...attentionKinds,
};

export const shapeKinds: OptionKinds<AttentionShapes> = {
  q: required(anArray()),
  k: required(anArray()),
  v: required(anArray()),
  dtype: oneOf('f32', 'f16'),
};
