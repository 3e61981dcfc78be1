import type { PlannedBytes } from '@topk-attention/core';
import type { BackendChoice, Kept, TfjsEngine } from '../args/values.js';

/** What to open. Plain data: it travels to child processes. */
export interface EngineSettings {
  /** `embedded` or a folder. */
  readonly model: string;
  readonly backend: BackendChoice;
  /** Engine of TensorFlow.js, where that is the backend. Default: wasm. */
  readonly engine?: TfjsEngine;
  /** Threads of ONNX Runtime and of TensorFlow. Default: one per core. */
  readonly threads?: number;
  /** Attention over all keys with all of its scores at once, as other libraries run it, instead of in chunks. */
  readonly isPlain?: boolean;
}

/** What was opened. */
export interface EngineInfo {
  /** The backend that runs. */
  readonly backend: 'webgpu' | 'onnxruntime' | 'tfjs' | 'reference';
  /** Set for TensorFlow.js: which of its engines. */
  readonly engine?: TfjsEngine;
  /** Engine, version, device and threads, for people. */
  readonly description: string;
  /** Set when another backend than the preferred one runs: why. */
  readonly fallback?: string;
  /** What the backend warns of, such as a GPU in software. */
  readonly warning?: string;
  /** The model's folder. */
  readonly model: string;
  /** Hidden units of a feed-forward layer. */
  readonly feedForwardUnits: number;
  /** Tokens of the longest input that the model was trained on, if its configuration says so. */
  readonly trainedTokens?: number;
  readonly loadMilliseconds: number;
  /** Whose memory is counted: that of the process, or tensors and scratch on the GPU. */
  readonly memory: 'process' | 'gpu';
  /** Peak of that memory when the model is loaded and nothing was asked yet. */
  readonly loadedBytes: number;
}

/** How to answer one question. Plain data, as above. */
export interface AnswerRequest {
  readonly question: string;
  readonly context: string;
  readonly attentionK: Kept;
  /** Default: a twelfth of the hidden units, as in the paper. */
  readonly feedForwardK?: Kept;
  /** Attention keeps k random keys instead of the k largest: the control of an evaluation. */
  readonly randomSeed?: number;
  readonly maxNewTokens: number;
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
  /** Peak memory up to the end of this answer, as `EngineInfo.memory` has it. */
  readonly peakBytes: number;
  /** Of the encoder's first layer; the others have the same. */
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

/** Planned bytes of the largest call beyond its inputs. */
export function largestPlan(answer: Answer): number {
  return Math.max(0, ...answer.plans.map((plan) => plan.bytes.total));
}

/** What a caller may watch while an answer is made. */
export interface AnswerEvents {
  /** Once, before anything runs. `known` is the share of the text's characters that the tokenizer knows, 0 to 1. */
  readonly onStart?: (promptTokens: number, known: number) => void;
  /** Each further piece of the answer. */
  readonly onText?: (piece: string) => void;
  readonly onProgress?: (stage: string, done: number, total: number) => void;
}

/** A model on a backend. */
export interface Engine {
  readonly info: EngineInfo;
  answer(request: AnswerRequest, events: AnswerEvents, signal: AbortSignal): Promise<Answer>;
  dispose(): Promise<void>;
}
