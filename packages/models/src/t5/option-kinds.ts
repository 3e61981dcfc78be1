import {
  aBoolean,
  aFunction,
  aNumber,
  anArray,
  aValue,
  type Backend,
  type OptionKind,
  type OptionKinds,
  required,
} from '@topk-attention/core';
import type { FileSource } from '../files/file-source.js';
import { aSignal } from '../interruption.js';
import { choiceKinds } from '../layer-choice.js';
import type { ExplainOptions, GenerateOptions, LoadT5Options, LogitsOptions } from './t5.js';

function anObjectWith<T>(what: string, name: string): OptionKind<T> {
  return aValue(what, (value) => typeof value === 'object' && value !== null && name in value);
}

export const loadKinds: OptionKinds<LoadT5Options> = {
  backend: required(anObjectWith<Backend>('a backend', 'capabilities')),
  source: required(
    aValue<string | URL | FileSource>(
      'a path, a URL or an object that opens files',
      (value) => typeof value === 'string' || (typeof value === 'object' && value !== null),
    ),
  ),
  tokenizer: aBoolean,
  signal: aSignal,
  onProgress: aFunction(),
  ...choiceKinds,
};

export const generateKinds: OptionKinds<GenerateOptions> = {
  maxNewTokens: aNumber,
  signal: aSignal,
  onToken: aFunction(),
  onProgress: aFunction(),
  ...choiceKinds,
};

export const logitsKinds: OptionKinds<LogitsOptions> = { sourceLengths: anArray(), ...choiceKinds };

export const explainKinds: OptionKinds<ExplainOptions> = {
  sourceLength: required(aNumber),
  batch: aNumber,
  ...choiceKinds,
};
