export const tokenKinds = ['characters', 'words'] as const;
export type TokenKind = (typeof tokenKinds)[number];

export interface Tokenizer {
  readonly kind: TokenKind;
  /** Ids are places in it. The first entry stands for everything that is not in it. */
  readonly vocabulary: readonly string[];
  encode(text: string): Int32Array;
  decode(ids: Iterable<number>): string;
}

/** How WikiText writes a word that is not in the vocabulary. */
const UNKNOWN = { characters: '\ufffd', words: '<unk>' } as const;

/**
 * A vocabulary of a text's characters or words: the most frequent ones, most frequent first. Words are what stands
 * between spaces; the end of a line is a word too.
 *
 * @param most how many entries at most
 */
export function buildTokenizer(kind: TokenKind, text: string, most: number): Tokenizer {
  const counts = new Map<string, number>();
  for (const token of split(kind, text)) counts.set(token, (counts.get(token) ?? 0) + 1);
  counts.delete(UNKNOWN[kind]);
  // Equally frequent ones in the order of their first place: the sort is stable.
  const known = [...counts].sort(([, a], [, b]) => b - a).slice(0, most - 1);
  return tokenizerOf(kind, [UNKNOWN[kind], ...known.map(([token]) => token)]);
}

/** The tokenizer of a vocabulary that was saved. */
export function tokenizerOf(kind: TokenKind, vocabulary: readonly string[]): Tokenizer {
  const ids = new Map(vocabulary.map((token, id) => [token, id]));
  return {
    kind,
    vocabulary,
    encode: (text) => Int32Array.from(split(kind, text), (token) => ids.get(token) ?? 0),
    decode: (given) =>
      join(
        kind,
        Array.from(given, (id) => vocabulary[id] ?? UNKNOWN[kind]),
      ),
  };
}

function split(kind: TokenKind, text: string): string[] {
  if (kind === 'characters') return [...text];
  return text
    .replaceAll('\n', ' \n ')
    .split(/[^\S\n]+/)
    .filter((word) => word !== '');
}

function join(kind: TokenKind, tokens: readonly string[]): string {
  if (kind === 'characters') return tokens.join('');
  return tokens.join(' ').replaceAll(/ ?\n ?/g, '\n');
}
