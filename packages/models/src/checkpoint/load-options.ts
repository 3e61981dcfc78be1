import {
  aFunction,
  aValue,
  type Backend,
  type OptionKind,
  type OptionKinds,
  required,
} from '@topk-attention/core';
import { aSignal, type FileSource } from '@topk-attention/nn';
import type { Progress } from '../progress.js';

/** What loading the parameters of a checkpoint takes, whatever the family. */
export interface LoadCheckpointOptions {
  /** Where tensors live and work runs. It stays the caller's. */
  readonly backend: Backend;
  /**
   * A Hugging Face folder: a directory path (Node), the base URL of its files (http, https, file), `hub(name)`, or anything
   * that reads files by name. It holds config.json, model.safetensors or pytorch_model.bin (or an index and its shards)
   * and, where a tokenizer is wanted, tokenizer.json, or the vocabulary of a T5, BERT, GPT-2 or RoBERTa.
   */
  readonly source: string | URL | FileSource;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** The kind of an object that has a property of that name. */
export function anObjectWith<T>(what: string, name: string): OptionKind<T> {
  return aValue(what, (value) => typeof value === 'object' && value !== null && name in value);
}

export const loadCheckpointKinds: OptionKinds<LoadCheckpointOptions> = {
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
