import type { ValueName } from './value-name.js';
import type { TokenLogit, TokenPrediction } from './vocabulary.js';

/** One hidden unit's part of a feed-forward layer's output: its coefficient times its value vector. */
export interface SubUpdate extends ValueName {
  /** act(pre-activation), times the gate where there is one; or what an intervention set. */
  readonly coefficient: number;
  /** |coefficient| times the norm of the value vector: the length of the sub-update. */
  readonly dominance: number;
}

/** One layer at one position. */
export interface LayerInspection {
  readonly layer: number;
  /** Of the residual stream after attention, the likeliest token first. */
  readonly before: readonly TokenPrediction[];
  /** The same after the feed-forward layer. */
  readonly after: readonly TokenPrediction[];
  /** The longest first; all others are shorter. */
  readonly subUpdates: readonly SubUpdate[];
  /** How many units have a coefficient other than 0: at most k in a top-k layer, interventions aside. */
  readonly active: number;
}

/** A prompt at one position, layer by layer. */
export interface Inspection {
  readonly stack: 'encoder' | 'decoder';
  /** What the tokens of the stack read; a T5's decoder begins with its start token. */
  readonly tokens: readonly string[];
  readonly position: number;
  readonly layers: readonly LayerInspection[];
}

/** The same prompt without interventions and with them. */
export interface InspectionPair {
  readonly plain: Inspection;
  readonly changed: Inspection;
}

/** What a value vector promotes: the vocabulary times the vector, with no norm in between. */
export interface ValueVector extends ValueName {
  /** Euclidean, of the vector. */
  readonly norm: number;
  /** The tokens with the largest logits. */
  readonly tokens: readonly TokenLogit[];
}
