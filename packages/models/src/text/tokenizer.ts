import {
  aFunction,
  anArray,
  describeValue,
  type OptionKinds,
  readOptions,
  TopKError,
} from '@topk-attention/core';
import { aSignal } from '@topk-attention/nn';
import { Interruption } from '../interruption.js';
import type { Progress } from '../progress.js';
import { type Encoding, unigramEncoding, wholeTextEncoding } from './encoding.js';
import type { SpanTokenizer } from './token-spans.js';
import { readUnigram } from './unigram-definition.js';

export interface EncodeOptions {
  /** Stops at a break: the call rejects with TopKError ABORTED. */
  readonly signal?: AbortSignal;
  /** Called at each break in a long text, with stage 'tokenize' and the number of characters done. */
  readonly onProgress?: (progress: Progress) => void;
}

export const encodeKinds: OptionKinds<EncodeOptions> = { signal: aSignal, onProgress: aFunction() };

/** Text to token ids and back. */
export interface TextTokenizer {
  /**
   * Ids with the special tokens that the tokenizer adds, such as T5's end of sequence. Blocks until it is done; `encodeAsync` does not.
   *
   * @throws TopKError INVALID_OPTION for anything but a string, and for text that a vocabulary without an unknown token lacks;
   * FILE_CORRUPT for a definition that does not work.
   */
  encode(text: string): number[];
  /**
   * The same ids, yielding to timers and events on the way.
   *
   * @throws TopKError INVALID_OPTION for anything but a string and for unknown options; ABORTED.
   */
  encodeAsync(text: string, options?: EncodeOptions): Promise<number[]>;
  /**
   * Text without special tokens; spaces are those of the tokenizer's decoder. Ids beyond the vocabulary add nothing: models
   * often have more ids than their tokenizer.
   *
   * @throws TopKError INVALID_OPTION for ids that are not whole numbers from 0.
   */
  decode(ids: readonly number[]): string;
  /**
   * Where tokens stand in a text, and special tokens for pairs of texts. Undefined where a tokenizer does not know it: WordPiece
   * of BERT's kind and byte-level BPE of GPT-2's do.
   */
  readonly spans?: SpanTokenizer;
}

/**
 * A tokenizer from the contents of tokenizer.json and, where it exists, tokenizer_config.json. Unigram models (T5's kind)
 * accept texts of any length in linear time; other BPE than GPT-2's kind encodes in one step and cannot be interrupted.
 *
 * @throws TopKError FILE_CORRUPT when a file is not a tokenizer's.
 */
export function createTokenizer(tokenizerJson: string, tokenizerConfig = '{}'): TextTokenizer {
  const definition = parse(tokenizerJson, 'tokenizer.json');
  const { library, encode, spans } = createEncoding(
    definition,
    parse(tokenizerConfig, 'tokenizer_config.json'),
  );
  return {
    encode(text) {
      checkText('encode', text);
      const steps = encode(text);
      for (;;) {
        const step = usable(() => steps.next());
        if (step.done === true) return checkedIds(step.value);
      }
    },
    async encodeAsync(text, options = {}) {
      checkText('encodeAsync', text);
      const { signal, onProgress } = readOptions('encodeAsync', options, encodeKinds);
      const interruption = new Interruption('encodeAsync', signal);
      const steps = encode(text);
      for (;;) {
        const step = usable(() => steps.next());
        if (step.done === true) return checkedIds(step.value);
        await interruption.yieldToEvents();
        onProgress?.({ stage: 'tokenize', ...step.value });
      }
    },
    decode(ids) {
      checkIds(ids);
      const known = Array.from(ids).filter((id) => library.id_to_token(id) !== undefined);
      // The library throws on an empty list.
      if (known.length === 0) return '';
      const options = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
      return usable(() => library.decode(known, options));
    },
    ...(spans && { spans: checkedSpans(spans) }),
  };
}

function checkedSpans({ encode, wrap }: SpanTokenizer): SpanTokenizer {
  return {
    encode(text) {
      checkText('spans.encode', text);
      const tokens = usable(() => encode(text));
      checkedIds(tokens.ids);
      return tokens;
    },
    wrap: (first, second) => usable(() => wrap(first, second)),
  };
}

function createEncoding(definition: object, config: object): Encoding {
  const vocabulary = readUnigram('model' in definition ? definition.model : undefined);
  try {
    const encoding =
      vocabulary === undefined
        ? wholeTextEncoding(definition, config)
        : unigramEncoding(definition, config, vocabulary);
    // Faults of what adds special tokens show before weights are read.
    for (const _ of encoding.encode(''));
    return encoding;
  } catch (cause) {
    if (cause instanceof TopKError) throw cause;
    throw corrupt('tokenizer.json', 'not a tokenizer definition', cause);
  }
}

/** The library finds some faults of a definition only when a text meets them. @throws TopKError FILE_CORRUPT */
function usable<R>(use: () => R): R {
  try {
    return use();
  } catch (cause) {
    if (cause instanceof TopKError) throw cause;
    throw corrupt('tokenizer.json', `it does not work: ${cause}`, cause);
  }
}

/**
 * Ids as a vocabulary gives them.
 *
 * @throws TopKError INVALID_OPTION for a text that has parts without an id, FILE_CORRUPT for ids that are none
 */
function checkedIds<Ids extends readonly number[]>(ids: Ids): Ids {
  const bad = ids.findIndex((id) => !(Number.isSafeInteger(id) && id >= 0));
  if (bad === -1) return ids;
  if (ids[bad] === undefined) {
    throw new TopKError('INVALID_OPTION', 'encode: a part of the text is not in the vocabulary', {
      expected: 'text that its tokens cover, because it has no unknown token',
      got: `no id for token ${bad}`,
    });
  }
  throw corrupt('tokenizer.json', `a token has the id ${describeValue(ids[bad])}`);
}

/** @throws TopKError INVALID_OPTION for anything but a string. */
export function checkText(where: string, text: unknown): void {
  if (typeof text === 'string') return;
  throw new TopKError('INVALID_OPTION', `${where}: not a text`, {
    expected: 'a string',
    got: describeValue(text),
  });
}

/** @throws TopKError INVALID_OPTION for anything but a list of whole numbers from 0. */
export function checkIds(ids: unknown): void {
  const isList = anArray().is(ids);
  const list: readonly unknown[] = isList ? Array.from(ids as ArrayLike<unknown>) : [ids];
  const bad = list.findIndex((id) => !(Number.isSafeInteger(id) && (id as number) >= 0));
  if (isList && bad === -1) return;
  throw new TopKError('INVALID_OPTION', 'decode: not token ids', {
    expected: 'a list of whole numbers from 0',
    got: isList ? `${describeValue(list[bad])} at ${bad}` : describeValue(ids),
  });
}

function parse(text: string, file: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(file, 'not JSON', cause);
  }
  if (typeof value === 'object' && value !== null) return value;
  throw corrupt(file, 'not a JSON object');
}

function corrupt(file: string, what: string, cause?: unknown): TopKError {
  return new TopKError('FILE_CORRUPT', `${file}: ${what}`, {
    fix: 'Use the tokenizer.json that belongs to the model',
    cause,
  });
}
