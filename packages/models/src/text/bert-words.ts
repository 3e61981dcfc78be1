import { type AlignedText, replaceCharacters, sliceAligned } from './aligned-text.js';
import { newerFormats, newerMarks, newerPunctuation } from './newer-characters.js';

/** Settings of a `BertNormalizer` in tokenizer.json. */
export interface BertNormalizer {
  readonly cleanText: boolean;
  readonly handleChinese: boolean;
  readonly stripAccents: boolean;
  readonly lowercase: boolean;
}

/**
 * BERT's normalisation, as the Rust tokenizers do it: character by character, so that no letter depends on its neighbours (a
 * final sigma stays a sigma).
 */
export function normalizeBert(
  text: AlignedText,
  { cleanText, handleChinese, stripAccents, lowercase }: BertNormalizer,
): AlignedText {
  let made = text;
  if (cleanText) made = replaceCharacters(made, cleaned);
  if (handleChinese) made = replaceCharacters(made, (one) => (isChinese(one) ? [' ', one, ' '] : [one]));
  if (stripAccents) made = withoutAccents(made);
  if (lowercase) made = replaceCharacters(made, (one) => [...one.toLowerCase()]);
  return made;
}

/** Words and marks of punctuation, as BERT's pre-tokenizer splits a text. */
export function* bertWords(text: AlignedText): Generator<AlignedText, void> {
  let begin = 0;
  for (const [index, character] of text.characters.entries()) {
    const isMark = isPunctuation(character);
    if (!isMark && !isSpace(character)) continue;
    if (index > begin) yield sliceAligned(text, begin, index);
    if (isMark) yield sliceAligned(text, index, index + 1);
    begin = index + 1;
  }
  if (begin < text.characters.length) yield sliceAligned(text, begin, text.characters.length);
}

/** Unicode's white space, which differs from that of JavaScript's regular expressions. */
export function isSpace(character: string): boolean {
  if (character < '\u0080') return character === ' ' || (character >= '\t' && character <= '\r');
  return /^\p{White_Space}$/u.test(character);
}

function cleaned(character: string): readonly string[] {
  if (character >= ' ' && character < '\u007f') return [character];
  if (/^[\t\n\r]$/.test(character)) return [' '];
  if (character === '\ufffd') return [];
  if (/^[\p{Cc}\p{Cf}\p{Co}]$/u.test(character) && !newerFormats.test(character)) return [];
  return [isSpace(character) ? ' ' : character];
}

/** The ranges of the original BERT, as the Rust tokenizers have them. */
function isChinese(character: string): boolean {
  if (character < '\u3400') return false;
  return /^[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]$/u.test(
    character,
  );
}

function isPunctuation(character: string): boolean {
  if (character < '\u0080') return /^[!-/:-@[-`{-~]$/.test(character);
  // Two that were punctuation once.
  if (/^[\u166d\u{111c9}]$/u.test(character)) return true;
  return /^\p{P}$/u.test(character) && !newerPunctuation.test(character);
}

/** Canonical decomposition without the marks that do not advance. */
function withoutAccents(text: AlignedText): AlignedText {
  const parts = replaceCharacters(text, (one) =>
    one < '\u00c0' || newerMarks.test(one) ? [one] : [...one.normalize('NFD')],
  );
  // Marks on one letter have an order of their own; it changes which characters there are, not where they come from.
  const ordered = [...parts.characters.join('').normalize('NFD')];
  const { length } = parts.characters;
  const sorted = ordered.length === length ? { ...parts, characters: ordered } : parts;
  return replaceCharacters(sorted, (one) => (isAccent(one) ? [] : [one]));
}

function isAccent(character: string): boolean {
  if (character < '\u0300') return false;
  // Two that did not advance once.
  if (/^[\u1734\u{1171e}]$/u.test(character)) return true;
  return /^\p{Mn}$/u.test(character) && !newerMarks.test(character);
}
