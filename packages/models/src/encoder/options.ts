import {
  aBoolean,
  aFunction,
  aNumber,
  anArray,
  aString,
  type OptionKinds,
  oneOf,
  optionsWithin,
  required,
} from '@topk-attention/core';
import { aSignal, type Trace, traceKinds } from '@topk-attention/nn';
import { anObjectWith, type LoadCheckpointOptions, loadCheckpointKinds } from '../checkpoint/load-options.js';
import { type StackChoices, stackChoiceKinds } from '../choices.js';
import type { Progress } from '../progress.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import { type EncoderTask, encoderTasks } from './task.js';

export interface LoadEncoderParametersOptions extends LoadCheckpointOptions {
  /** The head to load. Default: what the `architectures` of config.json name, 'feature-extraction' without any. */
  readonly task?: EncoderTask;
}

export interface LoadEncoderOptions extends LoadEncoderParametersOptions, StackChoices {
  /** False loads without tokenizer.json: the model then accepts token ids only. Default true. */
  readonly tokenizer?: boolean;
}

export interface CreateEncoderOptions extends StackChoices {
  /** Default: none, and the model accepts token ids only. */
  readonly tokenizer?: TextTokenizer;
}

/** What calls on texts have in common. */
export interface EncoderCallOptions extends StackChoices {
  /** Sources that run at once; similar lengths go together. Default 16. */
  readonly batchSize?: number;
  /** Cuts texts that are longer than the model's positions, instead of the error TOO_LONG. Default false. */
  readonly truncate?: boolean;
  /**
   * Upper bound in bytes of each attention and each feed-forward call beyond its inputs: chunks shrink to fit, and a call
   * that cannot fit rejects with TopKError DOES_NOT_FIT. Default: none.
   */
  readonly budgetBytes?: number;
  /** Stops between layers and in long texts: the call rejects with TopKError ABORTED. */
  readonly signal?: AbortSignal;
  /** Called with stage 'tokenize' in long texts and with stage 'encode' after each layer of each batch. */
  readonly onProgress?: (progress: Progress) => void;
  /** Hooks, called for each batch. Default: none. */
  readonly trace?: Trace;
}

export interface EmbedOptions extends EncoderCallOptions {
  /** The mean of the hidden states of all tokens, or that of the first. Default 'mean'. */
  readonly pooling?: 'mean' | 'cls';
  /** Scales embeddings to length 1, so that a dot product is a cosine. Default false. */
  readonly normalize?: boolean;
}

export interface FillMaskOptions extends EncoderCallOptions {
  /** How many words to propose for each mask. Default 5. */
  readonly topK?: number;
}

export interface AnswerOptions extends Omit<EncoderCallOptions, 'truncate'> {
  /** How many answers. Default 1. */
  readonly topK?: number;
  /** Tokens of a window over the context, question and special tokens included. Default: the model's positions, at most 384. */
  readonly maxTokens?: number;
  /** Tokens that two windows share. Default: half of `maxTokens`, at most 128. */
  readonly stride?: number;
  /** Longest answer in tokens. Default 15. */
  readonly maxAnswerTokens?: number;
  /** Whether 'no answer' is an answer, as in SQuAD 2: its text is '' and its place 0 to 0. Default false. */
  readonly allowNoAnswer?: boolean;
  /** Whether answers begin and end with whole words. Default true. */
  readonly alignToWords?: boolean;
}

export interface EncoderLogitsOptions extends StackChoices {
  /** Valid tokens of each row of right-padded sources. Default: all. */
  readonly sourceLengths?: readonly number[];
  /** The type (segment) of each token, for families that have them. Default: 0. */
  readonly types?: readonly (readonly number[])[];
  /** Upper bound in bytes of each attention and each feed-forward call beyond its inputs. Default: none. */
  readonly budgetBytes?: number;
  /** Hooks. Default: none. */
  readonly trace?: Trace;
}

export interface ExplainEncoderOptions extends StackChoices {
  readonly sourceLength: number;
  /** Default 1. */
  readonly batch?: number;
  /** Upper bound in bytes of each call beyond its inputs. Default: none. */
  readonly budgetBytes?: number;
}

/** A question, and the text that its answer is looked for in. */
export interface ContextQuestion {
  readonly question: string;
  readonly context: string;
}

export const loadParametersKinds: OptionKinds<LoadEncoderParametersOptions> = {
  ...loadCheckpointKinds,
  task: oneOf(...encoderTasks),
};

export const loadKinds: OptionKinds<LoadEncoderOptions> = {
  ...loadParametersKinds,
  tokenizer: aBoolean,
  ...stackChoiceKinds,
};

export const createKinds: OptionKinds<CreateEncoderOptions> = {
  tokenizer: anObjectWith<TextTokenizer>('a tokenizer', 'encodeAsync'),
  ...stackChoiceKinds,
};

export const callKinds: OptionKinds<EncoderCallOptions> = {
  batchSize: aNumber,
  truncate: aBoolean,
  budgetBytes: aNumber,
  signal: aSignal,
  onProgress: aFunction(),
  trace: optionsWithin(traceKinds),
  ...stackChoiceKinds,
};

export const embedKinds: OptionKinds<EmbedOptions> = {
  ...callKinds,
  pooling: oneOf('mean', 'cls'),
  normalize: aBoolean,
};

export const fillMaskKinds: OptionKinds<FillMaskOptions> = { ...callKinds, topK: aNumber };

const { truncate: _, ...windowKinds } = callKinds;

export const answerKinds: OptionKinds<AnswerOptions> = {
  ...windowKinds,
  topK: aNumber,
  maxTokens: aNumber,
  stride: aNumber,
  maxAnswerTokens: aNumber,
  allowNoAnswer: aBoolean,
  alignToWords: aBoolean,
};

export const logitsKinds: OptionKinds<EncoderLogitsOptions> = {
  sourceLengths: anArray(),
  types: anArray(),
  budgetBytes: aNumber,
  trace: optionsWithin(traceKinds),
  ...stackChoiceKinds,
};

export const explainKinds: OptionKinds<ExplainEncoderOptions> = {
  sourceLength: required(aNumber),
  batch: aNumber,
  budgetBytes: aNumber,
  ...stackChoiceKinds,
};

export const questionKinds: OptionKinds<ContextQuestion> = {
  question: required(aString),
  context: required(aString),
};
