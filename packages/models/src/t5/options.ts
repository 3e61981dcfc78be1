import {
  aBoolean,
  aFunction,
  aNumber,
  anArray,
  type OptionKinds,
  optionsWithin,
  required,
} from '@topk-attention/core';
import { aSignal, type Trace, traceKinds } from '@topk-attention/nn';
import { anObjectWith, type LoadCheckpointOptions, loadCheckpointKinds } from '../checkpoint/load-options.js';
import { choiceKinds, type LayerChoices } from '../choices.js';
import type { GenerateOptions } from '../generation/generate.js';
import type { TextTokenizer } from '../text/tokenizer.js';

/** The special ids of generation_config.json are used where that file exists. */
export interface LoadT5ParametersOptions extends LoadCheckpointOptions {}

export interface LoadT5Options extends LoadT5ParametersOptions, LayerChoices {
  /** False loads without tokenizer.json: the model then accepts and returns token ids only. Default true. */
  readonly tokenizer?: boolean;
}

export interface CreateT5Options extends LayerChoices {
  /** Default: none, and the model accepts and returns token ids only. */
  readonly tokenizer?: TextTokenizer;
}

export interface LogitsOptions extends LayerChoices {
  /** Valid tokens of each row of right-padded sources. Default: all. */
  readonly sourceLengths?: readonly number[];
  /** Upper bound in bytes of each attention and each feed-forward call beyond its inputs. Default: none. */
  readonly budgetBytes?: number;
  /** Hooks. Default: none. */
  readonly trace?: Trace;
}

export interface ExplainOptions extends LayerChoices {
  readonly sourceLength: number;
  /** Default 1. */
  readonly batch?: number;
  /** Upper bound in bytes of each call beyond its inputs, as `generate` takes it. Default: none. */
  readonly budgetBytes?: number;
}

export const loadKinds: OptionKinds<LoadT5Options> = {
  ...loadCheckpointKinds,
  tokenizer: aBoolean,
  ...choiceKinds,
};

export const createKinds: OptionKinds<CreateT5Options> = {
  tokenizer: anObjectWith<TextTokenizer>('a tokenizer', 'encodeAsync'),
  ...choiceKinds,
};

export const generateKinds: OptionKinds<GenerateOptions> = {
  maxNewTokens: aNumber,
  budgetBytes: aNumber,
  signal: aSignal,
  onToken: aFunction(),
  onProgress: aFunction(),
  trace: optionsWithin(traceKinds),
  ...choiceKinds,
};

export const logitsKinds: OptionKinds<LogitsOptions> = {
  sourceLengths: anArray(),
  budgetBytes: aNumber,
  trace: optionsWithin(traceKinds),
  ...choiceKinds,
};

export const explainKinds: OptionKinds<ExplainOptions> = {
  sourceLength: required(aNumber),
  batch: aNumber,
  budgetBytes: aNumber,
  ...choiceKinds,
};
