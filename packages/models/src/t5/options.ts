import {
  aBoolean,
  aFunction,
  aNumber,
  anArray,
  aValue,
  type Backend,
  type OptionKind,
  type OptionKinds,
  optionsWithin,
  required,
} from '@topk-attention/core';
import { aSignal, type FileSource, type Trace, traceKinds } from '@topk-attention/nn';
import { choiceKinds, type LayerChoices } from '../choices.js';
import type { GenerateOptions } from '../generation/generate.js';
import type { Progress } from '../progress.js';
import type { TextTokenizer } from '../text/tokenizer.js';

export interface LoadT5ParametersOptions {
  /** Where tensors live and work runs. It stays the caller's. */
  readonly backend: Backend;
  /**
   * A Hugging Face folder: a directory path (Node), the base URL of its files (http, https, file), `hub(name)`, or anything
   * that reads files by name. It holds config.json, model.safetensors or pytorch_model.bin (or an index and its shards)
   * and, for `loadT5`, tokenizer.json or spiece.model; the special ids of generation_config.json are used where that file
   * exists.
   */
  readonly source: string | URL | FileSource;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

export interface LoadT5Options extends LoadT5ParametersOptions, LayerChoices {
  /** False loads without a tokenizer: the model then accepts and returns token ids only. Default true. */
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

function anObjectWith<T>(what: string, name: string): OptionKind<T> {
  return aValue(what, (value) => typeof value === 'object' && value !== null && name in value);
}

export const loadParametersKinds: OptionKinds<LoadT5ParametersOptions> = {
  backend: required(anObjectWith<Backend>('a backend', 'capabilities')),
  source: required(
    aValue<string | URL | FileSource>(
      'a path, a URL or an object that opens files',
      (value) => typeof value === 'string' || (typeof value === 'object' && value !== null),
    ),
  ),
  signal: aSignal,
  onProgress: aFunction(),
};

export const loadKinds: OptionKinds<LoadT5Options> = {
  ...loadParametersKinds,
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
