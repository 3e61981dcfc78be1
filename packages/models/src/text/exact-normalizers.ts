import type { Tokenizer } from '@huggingface/tokenizers';
import { TopKError } from '@topk-attention/core';
import { isSpace } from './bert-words.js';
import { Charsmap } from './charsmap.js';

/**
 * Replaces normalisers of the library that only come near those of the Rust library: the data of SentencePiece, which is
 * not read there, and the spaces that are stripped. Returns the library.
 */
export function withExactNormalizers(library: Tokenizer): Tokenizer {
  for (const one of flattened(library.normalizer)) {
    const { type, precompiled_charsmap: text, strip_left: left, strip_right: right } = one.config ?? {};
    if (type === 'Precompiled' && typeof text === 'string' && text !== '') {
      const charsmap = new Charsmap(decodeBase64(text));
      one.normalize = (given) => charsmap.normalize(given);
    }
    if (type === 'Strip') one.normalize = (given) => strip(given, left === true, right === true);
  }
  return library;
}

/** The part of a normaliser of the library that is used. */
interface LibraryNormalizer {
  readonly config?: { readonly [key: string]: unknown };
  readonly normalizers?: readonly (LibraryNormalizer | null)[];
  normalize(text: string): string;
}

function flattened(one: LibraryNormalizer | null): readonly LibraryNormalizer[] {
  if (one === null) return [];
  return one.normalizers === undefined ? [one] : one.normalizers.flatMap(flattened);
}

/** Not by `trim`, which leaves U+0085 and takes U+FEFF. */
function strip(text: string, left: boolean, right: boolean): string {
  let [begin, end] = [0, text.length];
  while (left && begin < end && isSpace(text.charAt(begin))) begin++;
  while (right && end > begin && isSpace(text.charAt(end - 1))) end--;
  return text.slice(begin, end);
}

/** @throws TopKError FILE_CORRUPT */
function decodeBase64(text: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch (cause) {
    throw new TopKError('FILE_CORRUPT', 'tokenizer: bad precompiled_charsmap', {
      expected: 'base64',
      fix: 'Use the tokenizer that belongs to the model',
      cause,
    });
  }
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
