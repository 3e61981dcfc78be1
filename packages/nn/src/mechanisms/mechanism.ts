import type { AttentionOptions, Tensor } from '@topk-attention/core';
import type { Context } from '../context.js';
import type { Declarations } from '../declared/declaration.js';

/** What an attention layer computes between its projections, as a value. */
export interface Mechanism {
  /** For errors and logs. */
  readonly name: string;
  /** What it supports. An attention layer refuses anything else before it calls `attend`. */
  readonly takes: MechanismAbilities;
  /** Why it takes no more, in sentences that end the errors of a refusal. Default: no reason is given. */
  readonly refusals?: MechanismRefusals;
  /**
   * Set if it attends to the layer's own input only, so that a source is refused. 'tied': its keys are its queries, and
   * the layer has no `k_proj`. Default: any source.
   */
  readonly self?: 'only' | 'tied';
  /** Its own parameters and buffers; `call.context` finds them. Default: none. */
  declare?(sizes: MechanismSizes): Declarations;
  /** Output [B, heads, Lq, headDim] from queries, keys and values. */
  attend(call: MechanismCall): Tensor;
  /**
   * The next tokens of causal decoding: their output, and the state after them. Step by step it gives what causal
   * `attend` gives for the whole text. Required if `takes` has 'decoding'.
   *
   * @param state after the previous tokens; undefined at the beginning. Stays the caller's.
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
  /** Fewer key/value heads than query heads. */
  | 'groupedHeads'
  | 'decoding';

export type MechanismAbilities = readonly MechanismAbility[];

/** Reasons by what is refused: an ability, a source, or use in a model that was trained with softmax. */
export type MechanismRefusals = { readonly [what in MechanismAbility | 'source' | 'zeroShot']?: string };

/** Sizes of the layer around it. */
export interface MechanismSizes {
  /** Of the layer's input. */
  readonly width: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
}

export interface MechanismCall {
  /** The mechanism's: `parameterOf(context, name)` finds what it declared, `context.onLoss` takes an extra loss. */
  readonly context: Context;
  /** The layer's path, for hooks. */
  readonly path: string;
  /** [B, heads, Lq, headDim] */
  readonly query: Tensor;
  /** [B, keyValueHeads, Lk, headDim]; heads is a multiple of keyValueHeads. */
  readonly key: Tensor;
  /** [B, keyValueHeads, Lk, headDim] */
  readonly value: Tensor;
  /** The layer's input [B, Lq, width], from which the queries were projected. Layers of this package always pass it. */
  readonly input?: Tensor;
  /** True if keys and values are those of a source. Default: keys and queries are of the same tokens, padding too. */
  readonly fromSource?: boolean;
  /** Each as in core. Absent: not asked for. */
  readonly options: MechanismOptions;
}

export type MechanismOptions = Omit<AttentionOptions, 'queryChunk' | 'budgetBytes'>;

/** What the mechanism keeps of the tokens decoded so far. A plain value: the caller disposes of its tensors. */
export interface MechanismState {
  /** Tokens so far. */
  readonly length: number;
  readonly tensors: { readonly [name: string]: Tensor };
}

export interface MechanismStep {
  /** [B, heads, n, headDim] */
  readonly output: Tensor;
  readonly state: MechanismState;
}
