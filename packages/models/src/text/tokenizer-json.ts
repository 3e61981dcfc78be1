/** A token that stands for itself in a text. */
export interface Token {
  readonly id: number;
  readonly content: string;
}

/** An entry of `added_tokens`. */
export function addedToken(
  { id, content }: Token,
  flags: { readonly special: boolean; readonly strips?: boolean; readonly normalized?: boolean },
): object {
  const { special, strips = false, normalized = false } = flags;
  return { id, content, single_word: false, lstrip: strips, rstrip: strips, normalized, special };
}

/** What stands in a text or a pair of them: the first, the second, or a token; and its type. */
export type Part = readonly [what: 'A' | 'B' | Token, type: number];

/** A post-processor that puts tokens around texts. */
export function template(single: readonly Part[], pair: readonly Part[]): object {
  const partOf = ([what, type]: Part): object =>
    typeof what === 'string'
      ? { Sequence: { id: what, type_id: type } }
      : { SpecialToken: { id: what.content, type_id: type } };
  const tokens = [...single, ...pair].flatMap(([what]) => (typeof what === 'string' ? [] : [what]));
  return {
    type: 'TemplateProcessing',
    single: single.map(partOf),
    pair: pair.map(partOf),
    special_tokens: Object.fromEntries(
      tokens.map(({ id, content }) => [content, { id: content, ids: [id], tokens: [content] }]),
    ),
  };
}
