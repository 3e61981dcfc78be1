import { TopKError } from '@topk-attention/core';
import { addedToken, type Token } from './tokenizer-json.js';

/** What the files of a folder without tokenizer.json say of its tokens. */
export interface OlderTokens {
  /** Ids of the vocabulary. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** The special token of a role such as `cls_token`; undefined where it has none. */
  readonly special: (role: string) => string | undefined;
  /** Of added_tokens.json. */
  readonly added: ReadonlyMap<string, number>;
  /** Tokens that are special without a role. */
  readonly additional: readonly string[];
}

/** The token of a role that every text needs. @throws TopKError FILE_CORRUPT where it has no id. */
export function tokenOf(file: string, { vocabulary, special, added }: OlderTokens, role: string): Token {
  const content = special(role);
  const id = content === undefined ? undefined : (vocabulary.get(content) ?? added.get(content));
  if (content !== undefined && id !== undefined) return { id, content };
  throw new TopKError('FILE_CORRUPT', `${file}: no ${role}`, {
    expected: 'a vocabulary with its special tokens',
    got: content === undefined ? 'no such token' : `one without ${JSON.stringify(content)}`,
    fix: 'Save the tokenizer as tokenizer.json in Python, or name its special tokens in tokenizer_config.json',
  });
}

/** `added_tokens` of a tokenizer.json: the tokens of these roles as far as they have an id, and what was added. */
export function addedTokensOf(
  { vocabulary, special, added, additional }: OlderTokens,
  roles: readonly string[],
): readonly object[] {
  const ofRoles = new Set(roles.flatMap((role) => special(role) ?? []));
  const ids = new Map(
    [...ofRoles].flatMap((content) => {
      const id = vocabulary.get(content);
      return id === undefined ? [] : [[content, id] as const];
    }),
  );
  for (const [content, id] of added) if (!ids.has(content)) ids.set(content, id);
  return [...ids]
    .sort(([, a], [, b]) => a - b)
    .map(([content, id]) => {
      const isSpecial = ofRoles.has(content) || additional.includes(content);
      return addedToken({ id, content }, { special: isSpecial, normalized: !isSpecial });
    });
}
