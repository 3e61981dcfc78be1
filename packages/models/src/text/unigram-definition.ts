import { TopKError } from '@topk-attention/core';
import { isObject } from './json-object.js';
import type { UnigramVocabulary } from './unigram.js';

/** The model of a tokenizer.json when it is a unigram model, else undefined. @throws TopKError FILE_CORRUPT */
export function readUnigram(model: unknown): UnigramVocabulary | undefined {
  if (!isObject(model)) return undefined;
  const { type, vocab } = model;
  // Old files have no type; only unigram models store the vocabulary as a list.
  if (type !== 'Unigram' && !(type === undefined && Array.isArray(vocab))) return undefined;
  if (!Array.isArray(vocab) || vocab.length === 0) throw bad('vocab', 'a list of pieces and scores', vocab);
  const wrong = vocab.find((entry) => !isEntry(entry));
  if (wrong !== undefined) throw bad('vocab', 'pairs of a piece and its score', wrong);
  const entries: readonly (readonly [string, number])[] = vocab;
  const unknownId = model.unk_id ?? undefined;
  if (unknownId !== undefined && !(typeof unknownId === 'number' && entries[unknownId] !== undefined)) {
    throw bad('unk_id', `an id below ${entries.length}`, unknownId);
  }
  return {
    pieces: entries.map(([piece]) => piece),
    scores: entries.map(([, score]) => score),
    unknownId,
    byteFallback: model.byte_fallback === true,
  };
}

/**
 * The character that each word begins with, where the pre-tokenizer splits texts into words: no piece then spans two words.
 * The library does not split by itself.
 *
 * @throws TopKError FILE_CORRUPT
 */
export function wordStart(preTokenizer: unknown): string | undefined {
  if (!isObject(preTokenizer)) return undefined;
  const { type, pretokenizers, replacement = '▁', split } = preTokenizer;
  if (type === 'Metaspace') {
    // Nothing would be found everywhere, without end.
    if (typeof replacement !== 'string' || [...replacement].length !== 1)
      throw bad('replacement', 'one character', replacement, 'pre-tokenizer');
    return split === false ? undefined : replacement;
  }
  if (!Array.isArray(pretokenizers)) return undefined;
  return pretokenizers.map(wordStart).find((one) => one !== undefined);
}

/** A text split before each `start`; whole without one. */
export function* words(text: string, start: string | undefined): Generator<string, void> {
  let begin = 0;
  while (start !== undefined) {
    const end = text.indexOf(start, begin + 1);
    if (end === -1) break;
    yield text.slice(begin, end);
    begin = end;
  }
  if (begin < text.length) yield text.slice(begin);
}

function isEntry(entry: unknown): entry is readonly [string, number] {
  return (
    Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && typeof entry[1] === 'number'
  );
}

function bad(key: string, expected: string, got: unknown, of = 'model'): TopKError {
  return new TopKError('FILE_CORRUPT', `tokenizer.json: bad ${key} of the ${of}`, {
    expected,
    got: JSON.stringify(got)?.slice(0, 80) ?? 'nothing',
    fix: 'Use the tokenizer.json that belongs to the model',
  });
}
