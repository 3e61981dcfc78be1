import type { Shape } from '../contract/shape.js';
import {
  aBoolean,
  aNumber,
  anArray,
  aTensor,
  type OptionKinds,
  oneOf,
  required,
} from '../tensor/read-options.js';
import type { Tensor } from '../tensor/tensor.js';

export interface GraphAttentionOptions {
  /** Multiplies the dot products. Default: headDim ** -0.5. */
  readonly scale?: number;
  /** Entries that name a key after the query do not count: key j is visible to query i when j <= i + queryStart. */
  readonly causal?: boolean;
  /** Position of the first query among the keys, a whole number from 0. Default: Lk - Lq. */
  readonly queryStart?: number;
  /** bool [B, Lk] or [1, Lk]; true = keep. */
  readonly keyMask?: Tensor;
  /** i32 [B]: keys from this index on are hidden. */
  readonly keyLengths?: Tensor;
  /** f32, each dim 1 or that of [B, Hq, Lq, M], added to the scaled score of each entry; -inf removes it. Differentiable. */
  readonly bias?: Tensor;
  /** Queries per chunk. Default: planned. */
  readonly queryChunk?: number;
  /** Upper bound in bytes for all but the inputs; planned before anything is allocated. Default: none. */
  readonly budgetBytes?: number;
}

/** Shapes alone: what planning and `explainGraphAttention` need. */
export interface GraphAttentionShapes {
  /** [B, Hq, Lq, D] */
  readonly q: Shape;
  /** [B, Hkv, Lk, D]; Hq is a multiple of Hkv */
  readonly k: Shape;
  /** [B, Hkv, Lk, Dv] */
  readonly v: Shape;
  /** [B, Hq, Lq, M], the first three each 1 or full */
  readonly graph: Shape;
  /** Storage type of q, k and v. Default 'f32'. */
  readonly dtype?: 'f32' | 'f16';
}

export const graphKinds: OptionKinds<GraphAttentionOptions> = {
  scale: aNumber,
  causal: aBoolean,
  queryStart: aNumber,
  keyMask: aTensor,
  keyLengths: aTensor,
  bias: aTensor,
  queryChunk: aNumber,
  budgetBytes: aNumber,
};

export const graphShapeKinds: OptionKinds<GraphAttentionShapes> = {
  q: required(anArray()),
  k: required(anArray()),
  v: required(anArray()),
  graph: required(anArray()),
  dtype: oneOf('f32', 'f16'),
};
