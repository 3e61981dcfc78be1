import { aFunction, aNumber, anArray, aValue, type OptionKinds, oneOf, required } from '@topk-attention/core';
import { aSignal } from '@topk-attention/nn';
import type { SourceInput } from '../generation/prompts.js';
import type { Intervention } from './interventions.js';

export interface InspectorOptions {
  /**
   * Whose layers: those of the decoder, or of a T5's encoder. No training made the encoder's residual stream predict a
   * token: what it reads is a picture of it. Default 'decoder'.
   */
  readonly stack?: 'encoder' | 'decoder';
}

export interface InspectOptions {
  /** Which token of the stack to look at, negative ones from the end. Default: the last. */
  readonly position?: number;
  /** Which layers to report. Default: all. All of them run. */
  readonly layers?: readonly number[];
  /** Tokens of each prediction. Default 10. */
  readonly topTokens?: number;
  /** Sub-updates of each layer. Default 10. */
  readonly topUnits?: number;
  /** For the decoder of a T5: the answer so far, whose next token is predicted. Default: none, the first token. */
  readonly target?: SourceInput;
  /** Coefficients that are overwritten in this call, and in no other; later ones win. Default: none. */
  readonly interventions?: readonly Intervention[];
  readonly signal?: AbortSignal;
}

export const inspectorKinds: OptionKinds<InspectorOptions> = { stack: oneOf('encoder', 'decoder') };

export const inspectKinds: OptionKinds<InspectOptions> = {
  position: aNumber,
  layers: anArray(),
  topTokens: aNumber,
  topUnits: aNumber,
  target: aValue<SourceInput>(
    'a text or token ids',
    (value) => typeof value === 'string' || Array.isArray(value),
  ),
  interventions: anArray(),
  signal: aSignal,
};

/** Of reading every value vector. */
export interface ValueIndexOptions {
  /** Tokens of each value vector that the index holds. Default 50. */
  readonly topTokens?: number;
  readonly signal?: AbortSignal;
  /** Called with the number of value vectors read. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

export const indexKinds: OptionKinds<ValueIndexOptions> = {
  topTokens: aNumber,
  signal: aSignal,
  onProgress: aFunction(),
};

export interface ClusterOptions {
  /** How many clusters; value vectors of zeros belong to none. */
  readonly count: number;
  /** Same seed, same clusters on the same backend. Default 0. */
  readonly seed?: number;
  /** Passes over all value vectors at most; it ends earlier when none moves. Default 20. */
  readonly passes?: number;
  /** Tokens of each cluster. Default 10. */
  readonly topTokens?: number;
  readonly signal?: AbortSignal;
}

export const clusterKinds: OptionKinds<ClusterOptions> = {
  count: required(aNumber),
  seed: aNumber,
  passes: aNumber,
  topTokens: aNumber,
  signal: aSignal,
};
