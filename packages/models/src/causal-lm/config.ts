import { type Activation, TopKError } from '@topk-attention/core';
import { activationNames, activationOf } from '../checkpoint/activations.js';
import type { ConfigReader } from '../checkpoint/config-reader.js';
import type { RotaryConfig } from './rotary-frequencies.js';

/** What the config.json of a decoder-only model says about its arithmetic. */
export interface CausalLMConfig {
  /** Whose names the weights have. */
  readonly layout: 'gpt2' | 'llama';
  readonly vocabSize: number;
  readonly dModel: number;
  readonly dFf: number;
  readonly layers: number;
  readonly heads: number;
  /** Key/value heads, each shared by heads / keyValueHeads query heads. */
  readonly keyValueHeads: number;
  /** Width of a head; heads * headDim need not be dModel. */
  readonly headDim: number;
  /** Positions that the model was trained for. With learned positions there are no others. */
  readonly maxPositions: number;
  /** Rotary positions; undefined for learned ones. */
  readonly rotary: RotaryConfig | undefined;
  readonly norm: 'layerNorm' | 'rmsNorm';
  readonly epsilon: number;
  readonly activation: Activation;
  /** Which projections of an attention layer have biases. */
  readonly attentionBias: { readonly input: boolean; readonly output: boolean };
  /** Queries and keys are normalised head by head (Qwen3). */
  readonly headNorms: boolean;
  /** The scores of a layer are multiplied by: headDim ** -0.5, 1, or either divided by the layer's number from 1. */
  readonly scoreScale: { readonly byWidth: boolean; readonly byLayer: boolean };
  /** In training: rates of embeddings, attention weights and outputs of sublayers. */
  readonly dropout: { readonly embedding: number; readonly attention: number; readonly residual: number };
  /** The output projection is the embedding. */
  readonly tiedEmbeddings: boolean;
  readonly padId: number;
  /** None: only the number of tokens ends a text. */
  readonly eosIds: readonly number[];
}

/** Path of every block: 'decoder.0', ... */
export function blockPaths({ layers }: CausalLMConfig): readonly string[] {
  return Array.from({ length: layers }, (_, block) => `decoder.${block}`);
}

/** The ids that end a text, and the one that fills rows that have ended: the first of them where a file names none. */
export function readSpecialIds(
  read: ConfigReader,
  eosFallback: readonly number[],
): Pick<CausalLMConfig, 'padId' | 'eosIds'> {
  const given = read.value('eos_token_id');
  const isNone = given === null || (given === undefined && eosFallback.length === 0);
  const eosIds = isNone ? [] : read.ids('eos_token_id', eosFallback);
  // Some checkpoints say -1 for none.
  const pad = read.value('pad_token_id') === -1 ? undefined : read.value('pad_token_id');
  return {
    eosIds,
    padId: pad === undefined ? (eosIds[0] ?? 0) : read.whole('pad_token_id', 0, eosIds[0] ?? 0),
  };
}

/** @throws TopKError INVALID_CONFIG */
export function readActivation(read: ConfigReader, key: string, fallback: string): Activation {
  const value = read.value(key) ?? fallback;
  const activation = activationOf(value);
  if (activation !== undefined) return activation;
  throw read.invalid(key, `one of ${activationNames}`, value);
}

/** @throws TopKError INVALID_CONFIG for query heads that key/value heads do not divide. */
export function requireGroups(read: ConfigReader, key: string, heads: number, keyValueHeads: number): void {
  if (heads % keyValueHeads === 0) return;
  throw read.invalid(key, `a number that divides the ${heads} heads`, keyValueHeads);
}

/** The error for a part of an architecture that is not implemented. */
export function unsupported(file: string, key: string, what: string, got: unknown): TopKError {
  return new TopKError('UNSUPPORTED', `${file}: ${key} is not supported`, {
    expected: what,
    got: JSON.stringify(got),
    fix: 'Load another checkpoint: this one would compute something else',
  });
}
