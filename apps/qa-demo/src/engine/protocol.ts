import type { BackendInfo, BackendSettings } from '@topk-attention/app-kit';
import type { PlannedBytes } from '@topk-attention/core';
import type { Chosen, GenerationSettings, LayerError, Measure, SuggestedK } from '@topk-attention/models';
import type { CrossMechanism } from './cross-mechanism.js';

// What the commands and the engine say to each other. All of it is plain data, and nothing here needs Node.

/** Kept keys or hidden units per query; 'exact' keeps them all. */
export type Kept = number | 'exact';

/** As models take it. */
export function choiceOf(kept: Kept): 'exact' | { readonly k: number } {
  return kept === 'exact' ? 'exact' : { k: kept };
}

/** What to open. */
export interface EngineSettings extends BackendSettings {
  /** `embedded`, a folder, or a name on the Hub. */
  readonly model: string;
  /** Take a model of the Hub from the cache only. */
  readonly isOffline?: boolean;
  /**
   * Attention over all keys with all of its scores in memory at once, as other libraries run it, instead of in
   * chunks.
   */
  readonly isPlain?: boolean;
}

/** What was opened. */
export interface EngineInfo extends BackendInfo {
  /** The model's folder, or its name on the Hub. */
  readonly model: string;
  /** Hidden units of a feed-forward layer. */
  readonly feedForwardUnits: number;
  /** Tokens of the longest input that the model was trained on, if its configuration says so. */
  readonly trainedTokens?: number;
  readonly loadMilliseconds: number;
  /** Whose memory is counted: that of the process, or tensors and scratch on the GPU. */
  readonly memory: 'process' | 'gpu';
  /** Peak of that memory once the model is loaded, before the first question. */
  readonly loadedBytes: number;
}

/** How to answer one question. */
export interface AnswerRequest {
  readonly question: string;
  readonly context: string;
  readonly attentionK: Kept;
  /** Default: a twelfth of the hidden units, as in the paper. */
  readonly feedForwardK?: Kept;
  /** Attention keeps k random keys instead of the k largest: the control of an evaluation. */
  readonly randomSeed?: number;
  /** In place of the decoder's cross-attention. */
  readonly cross?: CrossMechanism;
  readonly maxNewTokens: number;
  /** How tokens are chosen. Default: the best one of each step. */
  readonly strategy?: Pick<GenerationSettings, 'numBeams' | 'doSample' | 'temperature' | 'seed'>;
  /** Upper bound of each attention and feed-forward call beyond its inputs. */
  readonly budgetBytes?: number;
}

export interface Answer {
  readonly text: string;
  readonly attentionK: Kept;
  readonly feedForwardK: Kept;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly milliseconds: number;
  /** Peak memory up to the end of this answer, counted as `EngineInfo.memory` says. */
  readonly peakBytes: number;
  /** Of the encoder's first layer; the others have the same. Plain and random attention have none. */
  readonly plans: readonly PlanReport[];
}

/** How one part of a layer runs: core's `explain`, as plain data. */
export interface PlanReport {
  /** Such as `encoder.0 attention`. */
  readonly layer: string;
  readonly path: 'fused' | 'composed';
  readonly bytes: PlannedBytes;
  /** Queries, or tokens, at a time. */
  readonly chunk: number;
  /** The whole plan for people. */
  readonly text: string;
}

/** The paper keeps 256 of 3,072 hidden units. */
const FEED_FORWARD_SHARE = 12;

/** A twelfth of the hidden units. */
export function defaultFeedForwardK(units: number): number {
  return Math.max(1, Math.round(units / FEED_FORWARD_SHARE));
}

/** Planned bytes of the largest call beyond its inputs. */
export function largestPlan(answer: Answer): number {
  return Math.max(0, ...answer.plans.map((plan) => plan.bytes.total));
}

export interface Progress {
  readonly type: 'progress';
  readonly stage: string;
  readonly done: number;
  readonly total: number;
}

/** Sent while an answer is generated. */
export type AnswerEvent =
  | Progress
  /** Once, before anything runs. `known` is the share of the text's characters that the tokenizer knows, 0 to 1. */
  | { readonly type: 'started'; readonly promptTokens: number; readonly known: number }
  /** Each further piece of the answer. */
  | { readonly type: 'text'; readonly piece: string };

/** What top-k costs on these questions: the smallest k within a tolerance, or what each of some ks costs. */
export interface SuggestRequest {
  readonly questions: readonly string[];
  readonly context: string;
  readonly of: Chosen;
  readonly tolerance: number;
  readonly measure: Measure;
  /** Report what each of these costs in each layer, instead of searching. */
  readonly ks?: readonly number[];
}

export interface Suggestion {
  readonly suggested?: SuggestedK;
  readonly errors?: readonly LayerError[];
}

/** What an engine can be asked: to open a model, once, and then to answer questions, or to say what k they need. */
export interface EngineContract {
  readonly open: { readonly argument: EngineSettings; readonly result: EngineInfo; readonly event: Progress };
  readonly answer: {
    readonly argument: AnswerRequest;
    readonly result: Answer;
    readonly event: AnswerEvent;
  };
  readonly suggest: {
    readonly argument: SuggestRequest;
    readonly result: Suggestion;
    readonly event: Progress;
  };
}
