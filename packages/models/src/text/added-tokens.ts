import { type AlignedText, sliceAligned } from './aligned-text.js';
import { isSpace } from './bert-words.js';
import { isObject } from './json-object.js';

/** A token with a fixed spelling, found before a text is split. */
interface AddedToken {
  readonly content: string;
  readonly id: number;
  readonly singleWord: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Whether it is searched for in the normalised text. */
  readonly normalized: boolean;
}

/** A part of a text: an added token, or what lies between two. */
export interface TextPart {
  readonly text: AlignedText;
  /** The added token; undefined for other text. */
  readonly id: number | undefined;
}

/** The added tokens of a tokenizer.json; undefined if the list is not one. */
export function readAddedTokens(list: unknown): readonly AddedToken[] | undefined {
  if (!Array.isArray(list)) return undefined;
  const tokens: AddedToken[] = [];
  for (const one of list as readonly unknown[]) {
    if (
      !isObject(one) ||
      typeof one.content !== 'string' ||
      one.content === '' ||
      typeof one.id !== 'number'
    ) {
      return undefined;
    }
    const { content, id, special } = one;
    tokens.push({
      ...{ content, id },
      singleWord: one.single_word === true,
      lstrip: one.lstrip === true,
      rstrip: one.rstrip === true,
      normalized: typeof one.normalized === 'boolean' ? one.normalized : special !== true,
    });
  }
  return tokens;
}

/** Splits a text at the added tokens that it contains; of those that begin at one place, at the longest. */
export function splitAtTokens(tokens: readonly AddedToken[]): (text: AlignedText) => readonly TextPart[] {
  if (tokens.length === 0) return (text) => (text.characters.length === 0 ? [] : [{ text, id: undefined }]);
  const byContent = new Map(tokens.map((token) => [token.content, token]));
  const longestFirst = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map(escaped).join('|'), 'gu');
  return (text) => {
    const { characters } = text;
    const parts: TextPart[] = [];
    const push = (begin: number, end: number, id?: number): void => {
      if (end > begin) parts.push({ text: sliceAligned(text, begin, end), id });
    };
    let done = 0;
    let [at, unit] = [0, 0];
    const whole = characters.join('');
    for (const match of whole.matchAll(pattern)) {
      // From UTF-16 to characters.
      while (unit < match.index) unit += (characters[at++] as string).length;
      const token = byContent.get(match[0]) as AddedToken;
      let begin = at;
      let end = at + [...match[0]].length;
      if (token.singleWord && (isWordPart(characters[begin - 1]) || isWordPart(characters[end]))) continue;
      if (token.lstrip) while (begin > done && isSpace(characters[begin - 1] as string)) begin--;
      if (token.rstrip) while (end < characters.length && isSpace(characters[end] as string)) end++;
      push(done, begin);
      push(begin, end, token.id);
      done = end;
    }
    push(done, characters.length);
    return parts;
  };
}

function isWordPart(character: string | undefined): boolean {
  return character !== undefined && /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u.test(character);
}

function escaped(content: string): string {
  return content.replace(/[$()*+./?[\\\]^{|}-]/g, '\\$&');
}
