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
  /** Key/value heads, each shared by heads / keyValueHeads query heads. Default: heads. */
  readonly keyValueHeads?: number;
  /** Default width / heads. */
  readonly headDim?: number;
  /** Width of the source of keys and values. Default: width. */
  readonly sourceWidth?: number;
  /** True: no query sees later keys. Default false. */
  readonly causal?: boolean;
  /** Whether all four projections have a bias. Default true. */
  readonly bias?: boolean;
  /** Multiplies the scores. Default headDim ** -0.5. */
  readonly scale?: number;
  /** Rotary position embedding of queries and keys, as in LLaMA. Default: none. */
  readonly rotary?: { readonly base?: number };
  /** Rate at which attention weights are dropped in training. Default 0. */
  readonly dropout?: number;
  /** For the projections' weights. Default as in PyTorch: Xavier, as if queries, keys and values were one matrix. */
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
  /** Query heads. */
  readonly heads: number;
}

export interface AttentionInputs
  extends Pick<MechanismOptions, 'keyLengths' | 'mask' | 'bias' | 'relativeBias'> {
  /**
   * The source of keys and values, [B, Lk, sourceWidth], or what `keysAndValues` returned for it. Default: x, i.e.
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
