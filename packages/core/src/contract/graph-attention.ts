import type { AttentionRequest } from './attention.js';
import type { Shape } from './shape.js';

/** Everything about a call of attention over a graph except its tensors. */
export interface GraphAttentionRequest
  extends Pick<
    AttentionRequest,
    | 'batch'
    | 'queryHeads'
    | 'keyHeads'
    | 'queryLength'
    | 'keyLength'
    | 'headDim'
    | 'valueDim'
    | 'dtype'
    | 'scale'
    | 'causal'
    | 'queryStart'
    | 'keyLengths'
    | 'saves'
  > {
  /** M: entries per query. */
  readonly entries: number;
  /** Shape of the graph: [B, Hq, Lq, M], of which the first three may be 1. */
  readonly graph: Shape;
  /** Shape of the mask of keys: [B, Lk] or [1, Lk]; undefined without one. */
  readonly keyMask?: Shape;
  /** Shape of the bias, each dim 1 or that of [B, Hq, Lq, M]; undefined without one. */
  readonly bias?: Shape;
}

export interface GraphAttentionInputs<T> {
  /** [B, Hq, Lq, D] */
  readonly q: T;
  /** [B, Hkv, Lk, D] */
  readonly k: T;
  /** [B, Hkv, Lk, Dv] */
  readonly v: T;
  /**
   * i32 [B, Hq, Lq, M], the first three each 1 or full: keys of each query. -1 is no entry. An entry counts if no
   * earlier entry of its row names the same key and no option hides the key. Any other number outside of the keys
   * makes the row NaN, whatever the options.
   */
  readonly graph: T;
  /** bool [B, Lk] or [1, Lk]; true = keep */
  readonly keyMask?: T;
  /** i32 [B] */
  readonly keyLengths?: T;
  /** f32, each dim 1 or that of [B, Hq, Lq, M] */
  readonly bias?: T;
}

export interface GraphAttentionOutputs<T> {
  /** [B, Hq, Lq, Dv] */
  readonly output: T;
  /** i32 [B, Hq, Lq, M], present when `request.saves`: the keys of the entries that count, -1 for all others. */
  readonly indices?: T;
  /** f32 [B, Hq, Lq, M]: their scores with scale and bias; NaN for numbers outside of the keys, -inf for all others. */
  readonly scores?: T;
}

export interface GraphAttentionBackwardInputs<T> extends GraphAttentionInputs<T> {
  readonly indices?: T;
  readonly scores?: T;
  /** [B, Hq, Lq, Dv] */
  readonly dOutput: T;
}

export interface GraphAttentionGradients<T> {
  readonly q: T;
  readonly k: T;
  readonly v: T;
  readonly bias?: T;
}
