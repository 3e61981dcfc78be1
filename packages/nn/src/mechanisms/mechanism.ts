import type { AttentionOptions, Tensor } from '@topk-attention/core';
import type { Context } from '../context.js';
import type { Declarations } from '../declared/declaration.js';

/** What an attention layer computes between its projections, as a value. */
export interface Mechanism {
  /** For errors and logs. */
  readonly name: string;
  /** What it can do. An attention layer refuses what it cannot before `attend` is called. */
  readonly takes: MechanismAbilities;
  /** Parameters and buffers of its own; `call.context` finds them. Default: none. */
  declare?(sizes: MechanismSizes): Declarations;
  /** Output [B, heads, Lq, headDim] of queries, keys and values. */
  attend(call: MechanismCall): Tensor;
  /**
   * The next tokens of causal decoding: their output, and the state after them. Step by step gives what `attend` gives for
   * the whole text, causally. Needed where it takes 'decoding'.
   *
   * @param state after the tokens before; undefined at the beginning. Stays the caller's.
   */
  step?(call: MechanismCall, state: MechanismState | undefined): MechanismStep;
}

/** Everything that an attention layer can ask for beyond queries, keys and values. */
export type MechanismAbility =
  | 'causal'
  | 'keyLengths'
  | 'mask'
  | 'bias'
  | 'relativeBias'
  | 'dropout'
  /** Fewer heads of keys and values than of queries. */
  | 'groupedHeads'
  | 'decoding';

export type MechanismAbilities = readonly MechanismAbility[];

/** Sizes of the layer around it. */
export interface MechanismSizes {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
}

export interface MechanismCall {
  /** Of the mechanism: `parameterOf(context, name)` finds what it declared, `context.onLoss` takes a loss besides the output. */
  readonly context: Context;
  /** Of the layer, for hooks. */
  readonly path: string;
  /** [B, heads, Lq, headDim] */
  readonly query: Tensor;
  /** [B, keyValueHeads, Lk, headDim]; heads is a multiple of keyValueHeads. */
  readonly key: Tensor;
  /** [B, keyValueHeads, Lk, headDim] */
  readonly value: Tensor;
  /** Core's meaning of each. Absent: not asked for. */
  readonly options: MechanismOptions;
}

export type MechanismOptions = Omit<AttentionOptions, 'queryChunk' | 'budgetBytes'>;

/** What is known of the tokens decoded so far. A plain value: the caller disposes of its tensors. */
export interface MechanismState {
  /** Tokens. */
  readonly length: number;
  readonly tensors: { readonly [name: string]: Tensor };
}

export interface MechanismStep {
  /** [B, heads, n, headDim] */
  readonly output: Tensor;
  readonly state: MechanismState;
}
