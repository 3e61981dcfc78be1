import type { Tokenizer } from '@huggingface/tokenizers';
import { readAddedTokens, splitAtTokens } from './added-tokens.js';
import { type AlignedText, alignedText, sliceAligned } from './aligned-text.js';
import { type BertNormalizer, bertWords, isSpace, normalizeBert } from './bert-words.js';
import { byteLevelWords, SHOWN_SPACE, shownBytes } from './byte-level-words.js';
import { isObject } from './json-object.js';
import { readSpecialTokens, type SpecialTokens, type WrappedIds } from './special-tokens.js';

/** The tokens of a text, without special ones, and where each stands in it. */
export interface TokenSpans {
  readonly ids: readonly number[];
  /** Where each token begins in the text, in UTF-16 as `slice` counts; where it ends. */
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  /** The number of the word that each token is in, or of the added token. */
  readonly words: readonly number[];
}

/** What a tokenizer that knows where its tokens stand in a text can do beyond ids. */
export interface SpanTokenizer {
  /** Tokens with their places, without special tokens: those of the Python package tokenizers. */
  encode(text: string): TokenSpans;
  /** Ids with the special tokens for one text or a pair of texts. */
  wrap(first: readonly number[], second?: readonly number[]): WrappedIds;
}

/** The same, word by word: yields where in the text the word ends. */
export interface SpanSteps extends Pick<SpanTokenizer, 'wrap'> {
  steps(text: string): Generator<number, TokenSpans>;
}

/** How a definition splits a text into words, and each word into pieces. */
interface Splitting {
  readonly normalize: (text: AlignedText) => AlignedText;
  readonly words: (text: AlignedText) => Iterable<AlignedText>;
  /** Pieces of a word: their ids, and the number of characters of each. */
  readonly pieces: (word: readonly string[]) => readonly (readonly [id: number, length: number])[];
}

/**
 * Tokens with their places for a tokenizer.json of BERT's kind (WordPiece) or of GPT-2's (byte-level BPE); undefined for any
 * other.
 */
export function readSpans(definition: object, library: Tokenizer): SpanSteps | undefined {
  const parts: { readonly [key: string]: unknown } = { ...definition };
  const splitting = wordPieces(parts) ?? byteLevel(parts, library);
  const added = readAddedTokens(parts.added_tokens);
  const special = readSpecialTokens(parts.post_processor);
  if (splitting === undefined || added === undefined || special === undefined) return undefined;
  const atRaw = splitAtTokens(added.filter((token) => !token.normalized));
  const atNormalized = splitAtTokens(added.filter((token) => token.normalized));
  return {
    wrap: (first, second) => special.wrap(first, second),
    *steps(text) {
      const made = {
        ids: [] as number[],
        starts: [] as number[],
        ends: [] as number[],
        words: [] as number[],
      };
      let word = 0;
      const push = (id: number, piece: AlignedText): void => {
        const [start, end] = trimmed(text, piece, special.trim, made.ids.length === 0);
        made.ids.push(id);
        made.starts.push(start);
        made.ends.push(end);
        made.words.push(word);
      };
      for (const raw of atRaw(alignedText(text, 0))) {
        if (raw.id !== undefined) {
          push(raw.id, raw.text);
          word++;
          continue;
        }
        for (const part of atNormalized(splitting.normalize(raw.text))) {
          if (part.id !== undefined) {
            push(part.id, part.text);
            word++;
            continue;
          }
          for (const one of splitting.words(part.text)) {
            let at = 0;
            for (const [id, length] of splitting.pieces(one.characters)) {
              push(id, sliceAligned(one, at, at + length));
              at += length;
            }
            word++;
            yield one.ends.at(-1) as number;
          }
        }
      }
      return made;
    },
  };
}

function wordPieces({
  model,
  normalizer,
  pre_tokenizer: preTokenizer,
}: {
  readonly [key: string]: unknown;
}): Splitting | undefined {
  if (!isObject(model) || model.type !== 'WordPiece' || !isObject(model.vocab)) return undefined;
  if (!isObject(preTokenizer) || preTokenizer.type !== 'BertPreTokenizer') return undefined;
  const settings = bertNormalizer(normalizer);
  const ids = new Map(Object.entries(model.vocab));
  const unknown = ids.get(String(model.unk_token ?? '[UNK]'));
  if (settings === undefined || typeof unknown !== 'number') return undefined;
  const prefix = typeof model.continuing_subword_prefix === 'string' ? model.continuing_subword_prefix : '##';
  const longest = typeof model.max_input_chars_per_word === 'number' ? model.max_input_chars_per_word : 100;

  /** The longest piece first, from left to right; a word that does not come out even is unknown as a whole. */
  const pieces = (word: readonly string[]): readonly (readonly [number, number])[] => {
    const whole = [[unknown, word.length]] as const;
    if (word.length > longest) return whole;
    const found: (readonly [number, number])[] = [];
    for (let begin = 0; begin < word.length; ) {
      let end = word.length;
      let id: unknown;
      for (; end > begin; end--) {
        id = ids.get((begin > 0 ? prefix : '') + word.slice(begin, end).join(''));
        if (typeof id === 'number') break;
      }
      if (typeof id !== 'number') return whole;
      found.push([id, end - begin]);
      begin = end;
    }
    return found;
  };
  return { normalize: (text) => normalizeBert(text, settings), words: bertWords, pieces };
}

/** No normaliser at all is one that changes nothing. */
function bertNormalizer(normalizer: unknown): BertNormalizer | undefined {
  if (normalizer === null || normalizer === undefined) {
    return { cleanText: false, handleChinese: false, stripAccents: false, lowercase: false };
  }
  if (!isObject(normalizer) || normalizer.type !== 'BertNormalizer') return undefined;
  const lowercase = normalizer.lowercase !== false;
  return {
    cleanText: normalizer.clean_text !== false,
    handleChinese: normalizer.handle_chinese_chars !== false,
    stripAccents: typeof normalizer.strip_accents === 'boolean' ? normalizer.strip_accents : lowercase,
    lowercase,
  };
}

function byteLevel(
  { model, normalizer, pre_tokenizer: preTokenizer }: { readonly [key: string]: unknown },
  library: Tokenizer,
): Splitting | undefined {
  if (!isObject(model) || model.type !== 'BPE' || !isObject(model.vocab)) return undefined;
  if (normalizer !== null && normalizer !== undefined) return undefined;
  if (!isObject(preTokenizer) || preTokenizer.type !== 'ByteLevel' || preTokenizer.use_regex === false) {
    return undefined;
  }
  const isPlain = [model.continuing_subword_prefix, model.end_of_word_suffix].every(
    (one) => (one ?? '') === '',
  );
  if (!isPlain || model.byte_fallback === true || (model.dropout ?? 0) !== 0) return undefined;
  const ids = new Map(Object.entries(model.vocab));
  // A byte without a piece would be left out or become an unknown token: where the pieces after it stand would be lost.
  if (!shownBytes.every((byte) => typeof ids.get(byte) === 'number')) return undefined;
  const addsSpace = preTokenizer.add_prefix_space !== false;
  const split: { encode(words: readonly string[]): string[] } = library.model;

  const pieces = (word: readonly string[]): readonly (readonly [number, number])[] => {
    const found: (readonly [number, number])[] = [];
    for (const piece of split.encode([word.join('')])) {
      const id = ids.get(piece);
      if (typeof id === 'number') found.push([id, piece.length]);
    }
    return found;
  };
  return { normalize: (text) => text, words: (text) => byteLevelWords(text, addsSpace), pieces };
}

/**
 * The place of a token without the spaces at its edges, as the Rust tokenizers compute it: a space that was added in front of
 * the text has no place of its own.
 *
 * @param isFirst whether the token may begin with the added space
 */
function trimmed(
  text: string,
  { characters, starts, ends }: AlignedText,
  trim: SpecialTokens['trim'],
  isFirst: boolean,
): readonly [start: number, end: number] {
  let start = starts[0] as number;
  let end = ends.at(-1) as number;
  if (trim === 'no') return [start, end];
  const isBlank = (one: string): boolean => one === SHOWN_SPACE || isSpace(one);
  const last = characters.length;
  let leading = characters.findIndex((one) => !isBlank(one));
  if (leading === -1) leading = last;
  let trailing = 0;
  while (trailing < last && isBlank(characters[last - 1 - trailing] as string)) trailing++;
  // Several spaces are none of them the added one.
  if (leading === 1 && trim === 'but-the-added' && (isFirst || start === 0)) leading = 0;
  // A space is one character, whatever character of the text it came from.
  for (; leading > 0 && start < end; leading--) start += isPair(text, start) ? 2 : 1;
  for (; trailing > 0 && end > start; trailing--) end -= isPair(text, end - 2) ? 2 : 1;
  return [start, end];
}

function isPair(text: string, at: number): boolean {
  return at >= 0 && (text.codePointAt(at) ?? 0) > 0xffff;
}
