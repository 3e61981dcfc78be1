import { TopKError } from '@topk-attention/core';
import type { Settings } from './settings.js';

/** Longer texts would fill the memory of a page with their characters. */
const MOST_CHARACTERS = 2_000_000;

/** A text as numbers: the last part, at least a tenth, is kept for validation. */
export interface EncodedText {
  /** The characters of the text in order of code points; ids are their indices. */
  readonly vocabulary: readonly string[];
  readonly training: Int32Array;
  readonly validation: Int32Array;
}

/** One piece of text: the model sees `ids` and predicts `targets`, the same one character later. */
export interface Piece {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

/** @throws TopKError INVALID_OPTION for a text that is too short for a batch, or too long for a page. */
export function encodeText(text: string, { context, batch }: Settings): EncodedText {
  const characters = Array.from(text);
  const least = leastCharacters(context, batch);
  if (characters.length < least) {
    throw new TopKError('INVALID_OPTION', 'the text is too short', {
      expected: `at least ${least} characters for a batch of ${batch} with a context of ${context}`,
      got: `${characters.length} characters`,
      fix: 'Paste a longer text, or choose a shorter context or a smaller batch',
    });
  }
  if (characters.length > MOST_CHARACTERS) {
    throw new TopKError('INVALID_OPTION', 'the text is too long', {
      expected: `at most ${MOST_CHARACTERS} characters`,
      got: `${characters.length} characters`,
      fix: 'Take a part of it',
    });
  }
  const vocabulary = [...new Set(characters)].sort(
    (a, b) => (a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0),
  );
  const idOf = new Map(vocabulary.map((character, id) => [character, id]));
  const ids = Int32Array.from(characters, (character) => idOf.get(character) ?? 0);
  const cut = ids.length - Math.max(Math.ceil(ids.length / 10), context + 1);
  return { vocabulary, training: ids.subarray(0, cut), validation: ids.subarray(cut) };
}

/** A piece for validation, and as many for training as a batch has. */
export function leastCharacters(context: number, batch: number): number {
  return context + 1 + (context + 1 + strideOf(context) * (batch - 1));
}

/** Pieces begin at every quarter of a context. */
const strideOf = (context: number): number => Math.max(1, Math.floor(context / 4));

/** The pieces of the training part, as a dataset. */
export function piecesOf(
  ids: Int32Array,
  context: number,
): { readonly length: number; get(index: number): Piece } {
  const stride = strideOf(context);
  return {
    length: Math.floor((ids.length - context - 1) / stride) + 1,
    get: (index) => pieceAt(ids, index * stride, context),
  };
}

/** `count` pieces from the beginning of a text to its end. */
export function spreadPieces(ids: Int32Array, context: number, count: number): Piece[] {
  const last = ids.length - context - 1;
  return Array.from({ length: count }, (_, i) =>
    pieceAt(ids, count === 1 ? 0 : Math.floor((i * last) / (count - 1)), context),
  );
}

const pieceAt = (ids: Int32Array, start: number, context: number): Piece => ({
  ids: ids.subarray(start, start + context),
  targets: ids.subarray(start + 1, start + 1 + context),
});
