/**
 * A text under normalisation, as characters (code points) that know which part of the original they came from: positions in
 * UTF-16, as `slice` takes them.
 */
export interface AlignedText {
  readonly characters: readonly string[];
  /** Where the original of each character begins. */
  readonly starts: readonly number[];
  /** Where it ends. */
  readonly ends: readonly number[];
}

/** A text before normalisation, which stands at `offset` in the original. Half of a surrogate pair becomes U+FFFD. */
export function alignedText(text: string, offset: number): AlignedText {
  const characters: string[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  let at = offset;
  for (const character of text) {
    const isHalf = character.length === 1 && character >= '\ud800' && character <= '\udfff';
    characters.push(isHalf ? '\ufffd' : character);
    starts.push(at);
    at += character.length;
    ends.push(at);
  }
  return { characters, starts, ends };
}

/** Each character replaced by any number of others, which all come from the same part of the original. */
export function replaceCharacters(
  { characters, starts, ends }: AlignedText,
  replace: (character: string) => readonly string[],
): AlignedText {
  const made = { characters: [] as string[], starts: [] as number[], ends: [] as number[] };
  for (const [index, character] of characters.entries()) {
    for (const one of replace(character)) {
      made.characters.push(one);
      made.starts.push(starts[index] as number);
      made.ends.push(ends[index] as number);
    }
  }
  return made;
}

/** Characters `begin` to `end`, without the latter. */
export function sliceAligned(
  { characters, starts, ends }: AlignedText,
  begin: number,
  end: number,
): AlignedText {
  return {
    characters: characters.slice(begin, end),
    starts: starts.slice(begin, end),
    ends: ends.slice(begin, end),
  };
}
