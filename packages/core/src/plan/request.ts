import type { Shape } from '../shape.js';

export type Activation = 'relu' | 'gelu' | 'gelu_tanh' | 'silu';
export type FeedForwardSelect = 'preactivation' | 'contribution';

/** How the k largest are found: in one pass over the row, or first among block maxima (exact either way). */
export type Selection = { readonly levels: 1 } | { readonly levels: 2; readonly blockSize: number };

export interface RelativeBiasOptions {
  /** Encoder style when true (half of the buckets for keys after the query), decoder style when false. */
  readonly bidirectional: boolean;
  /** Distance from which all keys share the last bucket. */
  readonly maxDistance: number;
}

/** Everything about an attention call but its tensors. Pure data: planning and refusal need nothing else. */
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
  readonly causal: boolean;
  /** Shape of the mask, each dim 1 or full; undefined without one. */
  readonly mask?: Shape;
  readonly keyLengths: boolean;
  readonly bias?: Shape;
  readonly relativeBias?: RelativeBiasOptions & { readonly buckets: number };
  readonly dropout?: { readonly rate: number; readonly seed: number };
  readonly selection: Selection;
  /** True when the (index, score) lists are wanted: for the backward pass or for `returnIndices`. */
  readonly saves: boolean;
}

/** Everything about a feed-forward call but its tensors. */
export interface FeedForwardRequest {
  readonly tokens: number;
  readonly inputDim: number;
  readonly hidden: number;
  readonly outputDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly k: number | 'all';
  readonly activation: Activation;
  readonly gated: boolean;
  readonly biasIn: boolean;
  readonly biasOut: boolean;
  readonly select: FeedForwardSelect;
  /** Second product over the kept rows only, or over all hidden units with the others set to zero. */
  readonly second: 'gather' | 'dense';
  readonly selection: Selection;
  /** True when a fused version is to return the kept units too, for the backward pass. Default false. */
  readonly saves?: boolean;
}
