import type { JournalFormat } from '@topk-attention/app-kit/node';

/** The answer to one question by one variant. */
export interface Entry {
  readonly id: string;
  /** The variant's name, such as `exact` or `k=16 ff=128`. */
  readonly variant: string;
  readonly prediction: string;
  readonly exactMatch: number;
  readonly f1: number;
  readonly milliseconds: number;
  readonly promptTokens: number;
}

const kinds: { readonly [N in keyof Entry]: 'string' | 'number' } = {
  id: 'string',
  variant: 'string',
  prediction: 'string',
  exactMatch: 'number',
  f1: 'number',
  milliseconds: 'number',
  promptTokens: 'number',
};

/** The key of an entry. */
export function entryKey({ id, variant }: Pick<Entry, 'id' | 'variant'>): string {
  return JSON.stringify([id, variant]);
}

/** Entries as lines of a journal. */
export const entryFormat: JournalFormat<Entry> = {
  isEntry: (value): value is Entry & typeof value =>
    Object.entries(kinds).every(([name, kind]) => typeof value[name] === kind),
  expected: 'a line of JSON with id, variant, prediction, exactMatch, f1, milliseconds and promptTokens',
  keyOf: entryKey,
};
