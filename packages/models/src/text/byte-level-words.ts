import { type AlignedText, replaceCharacters, sliceAligned } from './aligned-text.js';

/** GPT-2's pattern, with Unicode's white space. */
const WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Words with the space in front of them, as GPT-2's pre-tokenizer splits a text, as characters that stand for bytes. */
export function* byteLevelWords(text: AlignedText, addPrefixSpace: boolean): Generator<AlignedText, void> {
  const { characters } = text;
  if (characters.length === 0) return;
  const whole = addPrefixSpace && characters[0] !== ' ' ? withSpace(text) : text;
  let begin = 0;
  for (const [word] of whole.characters.join('').matchAll(WORDS)) {
    const end = begin + [...word].length;
    yield asBytes(sliceAligned(whole, begin, end));
    begin = end;
  }
}

/** The space that is added comes from the first character. */
function withSpace({ characters, starts, ends }: AlignedText): AlignedText {
  return {
    characters: [' ', ...characters],
    starts: [starts[0] as number, ...starts],
    ends: [ends[0] as number, ...ends],
  };
}

const encoder = new TextEncoder();

/** Every byte is a character of its own that can be shown; all bytes of a character come from the same part of the original. */
function asBytes(text: AlignedText): AlignedText {
  return replaceCharacters(text, (character) =>
    Array.from(encoder.encode(character), (byte) => shownBytes[byte] as string),
  );
}

/** Bytes that are printable Latin-1 stand for themselves, the others for the characters from U+0100 on. */
export const shownBytes: readonly string[] = (() => {
  const isShown = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isShown(byte) ? byte : next++));
})();

/** What a space is shown as. */
export const SHOWN_SPACE: string = shownBytes[0x20] as string;
