import {
  aBoolean,
  aFunction,
  aNumber,
  aTensor,
  aValue,
  either,
  type OptionKinds,
  optionsWithin,
  required,
  type Tensor,
} from '@topk-attention/core';
import type { Initializer } from '../declared/initializers.js';
import type { KeysAndValues } from '../layers/attention.js';
import type { Mechanism, MechanismOptions } from '../mechanisms/mechanism.js';

export interface AttentionLayerSettings {
  /** Default `exact()`. */
  readonly mechanism?: Mechanism;
  /** Heads of keys and values, each shared by heads / keyValueHeads heads of queries. Default: heads. */
  readonly keyValueHeads?: number;
  /** Default width / heads. */
  readonly headDim?: number;
  /** Width of what keys and values are made of. Default: width. */
  readonly sourceWidth?: number;
  /** No query sees later keys. Default false. */
  readonly causal?: boolean;
  /** Of all four projections. Default true. */
  readonly bias?: boolean;
  /** Multiplies the scores. Default headDim ** -0.5. */
  readonly scale?: number;
  /** Turns queries and keys by their positions, as LLaMA. Default: not. */
  readonly rotary?: { readonly base?: number };
  /** Rate at which attention weights are dropped in training. Default 0. */
  readonly dropout?: number;
  /** Of the projections' weights. Default PyTorch's: Xavier's as if queries, keys and values were one matrix. */
  readonly initializers?: AttentionInitializers;
}

export interface AttentionInitializers {
  readonly query?: Initializer;
  readonly key?: Initializer;
  readonly value?: Initializer;
  readonly output?: Initializer;
}

export interface AttentionLayerOptions extends AttentionLayerSettings {
  readonly width: number;
  /** Heads of queries. */
  readonly heads: number;
}

export interface AttentionInputs
  extends Pick<MechanismOptions, 'keyLengths' | 'mask' | 'bias' | 'relativeBias'> {
  /**
   * [B, Lk, sourceWidth], what keys and values are made of, or what `keysAndValues` made of it before. Default: x,
   * self-attention.
   */
  readonly source?: Tensor | KeysAndValues;
}

const anInitializer = aFunction<Initializer>();

export const attentionSettingKinds: OptionKinds<AttentionLayerSettings> = {
  mechanism: aValue('a mechanism such as exact() or topK({ k })', isMechanism),
  keyValueHeads: aNumber,
  headDim: aNumber,
  sourceWidth: aNumber,
  causal: aBoolean,
  bias: aBoolean,
  scale: aNumber,
  rotary: optionsWithin({ base: aNumber }),
  dropout: aNumber,
  initializers: optionsWithin<AttentionInitializers>({
    query: anInitializer,
    key: anInitializer,
    value: anInitializer,
    output: anInitializer,
  }),
};

export const attentionKinds: OptionKinds<AttentionLayerOptions> = {
  width: required(aNumber),
  heads: required(aNumber),
  ...attentionSettingKinds,
};

export const attentionInputKinds: OptionKinds<AttentionInputs> = {
  source: either(aTensor, optionsWithin<KeysAndValues>({ key: required(aTensor), value: required(aTensor) })),
  keyLengths: aTensor,
  mask: aTensor,
  bias: aTensor,
  relativeBias: optionsWithin({
    table: required(aTensor),
    bidirectional: required(aBoolean),
    maxDistance: required(aNumber),
  }),
};

function isMechanism(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'takes' in value &&
    Array.isArray(value.takes) &&
    'attend' in value &&
    typeof value.attend === 'function'
  );
}
