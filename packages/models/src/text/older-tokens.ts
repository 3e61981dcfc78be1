import { TopKError } from '@topk-attention/core';

/** A token that stands for itself in a text, beside or in the vocabulary. */
interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** What the files of a folder without tokenizer.json say of its tokens besides the vocabulary. */
export interface OlderTokens {
  /** The special token of a role such as `cls_token`; undefined where it has none. */
  readonly special: (role: string) => string | undefined;
  /** Of added_tokens.json. */
  readonly added: ReadonlyMap<string, number>;
  /** Tokens that are special without a role. */
  readonly additional: readonly string[];
}

/** `added_tokens` of a tokenizer.json: the tokens of these roles as far as they have an id, then what was added. */
export function addedTokensOf(
  vocabulary: ReadonlyMap<string, number>,
  { special, added, additional }: OlderTokens,
  roles: readonly string[],
): readonly object[] {
  const tokens = new Map<string, AddedToken>();
  for (const role of roles) {
    const content = special(role);
    if (content === undefined) continue;
    const id = vocabulary.get(content) ?? added.get(content);
    if (id !== undefined) tokens.set(content, { id, content, special: true });
  }
  for (const [content, id] of added) {
    if (!tokens.has(content)) tokens.set(content, { id, content, special: additional.includes(content) });
  }
  return [...tokens.values()]
    .sort((a, b) => a.id - b.id)
    .map((one) => ({ ...one, single_word: false, lstrip: false, rstrip: false, normalized: !one.special }));
}

/** The error for a vocabulary without a token that every text needs. */
export function withoutToken(file: string, role: string, content: string | undefined): TopKError {
  return new TopKError('FILE_CORRUPT', `${file}: no ${role}`, {
    expected: 'a vocabulary with its special tokens',
    got: content === undefined ? 'no such token' : `one without ${JSON.stringify(content)}`,
    fix: 'Save the tokenizer as tokenizer.json in Python, or name its special tokens in tokenizer_config.json',
  });
}
