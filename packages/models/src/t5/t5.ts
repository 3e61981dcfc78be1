import type { AttentionPlan, Backend, Explanation, FeedForwardPlan, Tensor } from '@topk-attention/core';
import type { FileSource } from '../files/file-source.js';
import type { LayerChoices } from '../layer-choice.js';
import type { Progress } from '../progress.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { T5Config } from './config.js';

export interface LoadT5Options extends LayerChoices {
  /** Where tensors live and work runs. The model does not dispose of it. */
  readonly backend: Backend;
  /**
   * A Hugging Face folder: a directory path (Node), the base URL of its files (http, https, file), or anything that reads
   * files by name. It holds config.json, model.safetensors (or model.safetensors.index.json and its shards) and tokenizer.json; of
   * generation_config.json, where there is one, the special ids are taken.
   */
  readonly source: string | URL | FileSource;
  /** False loads without tokenizer.json: the model then takes and gives token ids only. Default true. */
  readonly tokenizer?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** A source text, or its token ids with the end-of-sequence id. */
export type SourceInput = string | readonly number[];

export interface GenerateOptions extends LayerChoices {
  /** Default 20, as in transformers. */
  readonly maxNewTokens?: number;
  /** Stops between tokens, between layers of the encoder and in long texts: the call rejects with TopKError ABORTED. */
  readonly signal?: AbortSignal;
  /** Called with each token as soon as it is known. */
  readonly onToken?: (token: GeneratedToken) => void;
  readonly onProgress?: (progress: Progress) => void;
}

export interface GeneratedToken {
  /** Which source of a batch; 0 for a single one. */
  readonly row: number;
  readonly id: number;
  /** Logit of the token. */
  readonly logit: number;
  /** What the token adds to the text; '' without a tokenizer, for special tokens, and while a character is incomplete. */
  readonly text: string;
}

export interface Generation {
  /** Token ids after the start token, up to and with the end of sequence. */
  readonly ids: readonly number[];
  /** Logit of each token. */
  readonly logits: readonly number[];
  /** The text without special tokens; '' when the model was loaded without a tokenizer. */
  readonly text: string;
  readonly finishReason: 'eos' | 'length';
  /** Tokens of the source. */
  readonly sourceLength: number;
}

export interface LogitsOptions extends LayerChoices {
  /** Valid tokens of each row of right-padded sources. Default: all. */
  readonly sourceLengths?: readonly number[];
}

export interface ExplainOptions extends LayerChoices {
  readonly sourceLength: number;
  /** Default 1. */
  readonly batch?: number;
}

/** One part of one layer, as it would run. */
export interface LayerExplanation {
  /** 'encoder.0 attention', 'encoder.0 feedForward', 'decoder.0 crossAttention', ... */
  readonly name: string;
  readonly explanation: Explanation<AttentionPlan> | Explanation<FeedForwardPlan>;
}

/** A T5 whose weights are on a backend. Made by `loadT5`. */
export interface T5 {
  readonly config: T5Config;
  readonly backend: Backend;
  /** Undefined when loaded with `tokenizer: false`. */
  readonly tokenizer: TextTokenizer | undefined;

  /** Greedy decoding of one source. Only token ids and their logits leave the backend. */
  generate(source: SourceInput, options?: GenerateOptions): Promise<Generation>;
  /** Greedy decoding of several sources at once, right-padded; the same answers as one at a time. */
  generateBatch(sources: readonly SourceInput[], options?: GenerateOptions): Promise<Generation[]>;
  /** Greedy decoding as it happens; leaving the loop frees everything. */
  stream(source: SourceInput, options?: GenerateOptions): AsyncGenerator<GeneratedToken, Generation>;

  /**
   * Outputs of the encoder, f32 [B, L, dModel], for rows of equal length (right-padded, with `sourceLengths`). The caller disposes of it.
   */
  encode(sources: readonly (readonly number[])[], options?: LogitsOptions): Tensor;
  /**
   * Logits f32 [B, Lt, vocabSize] with the decoder fed the given ids (decoder start first). The caller disposes of it.
   */
  logits(
    sources: readonly (readonly number[])[],
    targets: readonly (readonly number[])[],
    options?: LogitsOptions,
  ): Tensor;

  /**
   * Which path each attention over the source and each feed-forward layer of the encoder takes, and its plan with bytes. Runs nothing.
   */
  explain(options: ExplainOptions): readonly LayerExplanation[];

  /** Frees the weights; idempotent. */
  dispose(): void;
}
