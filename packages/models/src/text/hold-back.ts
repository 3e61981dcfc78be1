import type { Tokenizer } from '@huggingface/tokenizers';
import type { UnigramVocabulary } from './unigram.js';

/** Placeholder for a text that was held back. No real token is empty. */
export const PLACEHOLDER = '';

/** The part of a model that the library uses. */
interface LibraryModel {
  vocab: (string | undefined)[];
  tokens_to_ids: Map<string, number>;
  unk_token_id?: number;
  unk_token?: string;
  encode(texts: readonly string[]): string[];
}

/** A definition without its vocabulary, so that the library does not build a trie that nothing uses. */
export function withoutVocabulary(definition: object): object {
  return { ...definition, model: { type: 'Legacy', vocab: {} } };
}

/**
 * Adds the pieces to a library tokenizer that was made without a vocabulary, and replaces its model by one that
 * splits nothing: it keeps each text and leaves a placeholder in its place. The returned function gives the texts
 * kept since its last call.
 */
export function holdBack(
  library: Tokenizer,
  { pieces, unknownId }: UnigramVocabulary,
): () => readonly string[] {
  const model: LibraryModel = library.model;
  const added = model.vocab;
  model.vocab = [...pieces];
  model.tokens_to_ids = new Map(pieces.map((piece, id) => [piece, id]));
  // Added tokens already exist, at their ids.
  for (const [id, content] of added.entries()) {
    if (content === undefined) continue;
    model.vocab[id] = content;
    model.tokens_to_ids.set(content, id);
  }
  if (unknownId !== undefined) {
    model.unk_token_id = unknownId;
    model.unk_token = pieces[unknownId] as string;
  }
  let held: string[] = [];
  model.encode = (texts) => {
    for (const text of texts) held.push(text);
    return texts.map(() => PLACEHOLDER);
  };
  return () => {
    const texts = held;
    held = [];
    return texts;
  };
}
