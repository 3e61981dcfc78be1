import { describeValue, TopKError } from '@topk-attention/core';
import { requirePositive } from '../require-positive.js';
import type { ValueName } from './value-name.js';

/** A value vector that a search found. */
export interface ValueHit extends ValueName {
  /** The keywords that are among its top tokens. */
  readonly matched: readonly string[];
  /** Its top tokens, the largest logit first. */
  readonly tokens: readonly string[];
}

/** A value vector with the texts of its top tokens. */
export interface IndexedValue extends ValueName {
  readonly tokens: readonly string[];
}

interface Posting {
  readonly value: IndexedValue;
  /** The token's place among the value's, from 0. */
  readonly rank: number;
}

/** An inverted index in memory: from what a token reads to the value vectors that promote it. */
export class ValueIndex {
  /** How many value vectors it holds. */
  readonly size: number;
  readonly #postings = new Map<string, Posting[]>();
  readonly #words: ReadonlySet<string>;

  /** @internal Use `inspector.index()`. */
  constructor(values: readonly IndexedValue[], words: Iterable<string>) {
    this.size = values.length;
    this.#words = new Set(Array.from(words, wordOf));
    for (const value of values) {
      const seen = new Set<string>();
      for (const [rank, text] of value.tokens.entries()) {
        const word = wordOf(text);
        // 'Garden' and 'garden' are one word: the better of them counts.
        if (seen.has(word)) continue;
        seen.add(word);
        const postings = this.#postings.get(word);
        if (postings === undefined) this.#postings.set(word, [{ value, rank }]);
        else postings.push({ value, rank });
      }
    }
  }

  /**
   * Value vectors that have keywords among their top tokens, whatever their case: those with more keywords first, then those
   * with keywords nearer to the top (the sum of 1 / (1 + rank)), then in order of layers and units. None may be found.
   *
   * @param hits at most so many
   * @throws TopKError EMPTY_SEQUENCE for no keyword, INVALID_OPTION for a word that is no token of the vocabulary
   */
  search(keywords: string | readonly string[], hits = 5): ValueHit[] {
    requirePositive('search', 'hits', hits);
    const words = this.#wordsOf(keywords);
    const found = new Map<IndexedValue, { readonly matched: string[]; score: number }>();
    for (const word of words) {
      for (const { value, rank } of this.#postings.get(word) ?? []) {
        const hit = found.get(value) ?? { matched: [], score: 0 };
        found.set(value, hit);
        hit.matched.push(word);
        hit.score += 1 / (1 + rank);
      }
    }
    return [...found]
      .sort(
        ([a, own], [b, other]) =>
          other.matched.length - own.matched.length ||
          other.score - own.score ||
          a.layer - b.layer ||
          a.unit - b.unit,
      )
      .slice(0, hits)
      .map(([value, { matched }]) => ({ ...value, matched }));
  }

  #wordsOf(keywords: string | readonly string[]): ReadonlySet<string> {
    const words = new Set((typeof keywords === 'string' ? [keywords] : keywords).map(wordOf));
    words.delete('');
    if (words.size === 0)
      throw new TopKError('EMPTY_SEQUENCE', 'search: no keyword', { expected: 'at least one' });
    const unknown = [...words].find((word) => !this.#words.has(word));
    if (unknown === undefined) return words;
    throw new TopKError('INVALID_OPTION', 'search: the vocabulary has no such token', {
      expected: 'a word that is one token',
      got: describeValue(unknown),
      fix: 'Search for another word, or for a part of this one',
    });
  }
}

function wordOf(text: string): string {
  return text.trim().toLowerCase();
}
