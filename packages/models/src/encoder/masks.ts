import { TopKError } from '@topk-attention/core';
import { softmax } from '../generation/sampling.js';
import { kthLargest } from '../kth-largest.js';
import type { TextTokenizer } from '../text/tokenizer.js';

/** A word for a mask. */
export interface MaskWord {
  readonly id: number;
  /** '' for a model without a tokenizer. */
  readonly word: string;
  /** Its probability. */
  readonly score: number;
}

/**
 * The id of a tokenizer's mask: the only token that its text becomes.
 *
 * @throws TopKError INVALID_OPTION
 */
export function maskIdOf(where: string, tokenizer: TextTokenizer | undefined): number {
  for (const mask of ['[MASK]', '<mask>']) {
    const ids = tokenizer?.spans?.encode(mask).ids ?? tokenizer?.encode(mask).slice(1, -1) ?? [];
    if (ids.length === 1 && tokenizer?.decode(ids) === '') return ids[0] as number;
  }
  throw new TopKError('INVALID_OPTION', `${where}: the tokenizer has no mask`, {
    expected: 'a tokenizer with the special token [MASK] or <mask>',
    got: tokenizer === undefined ? 'no tokenizer' : 'none',
  });
}

/** Where a row has masks. @throws TopKError INVALID_OPTION where it has none. */
export function masksOf(where: string, ids: readonly number[], maskId: number): readonly number[] {
  const places = ids.flatMap((id, at) => (id === maskId ? [at] : []));
  if (places.length > 0) return places;
  throw new TopKError('INVALID_OPTION', `${where}: a source without a mask`, {
    expected: `at least one mask, id ${maskId}`,
    got: 'none',
    fix: 'Write [MASK] (BERT, DistilBERT) or <mask> (RoBERTa) where a word is missing',
  });
}

/** The `count` most likely words, the best first. */
export function bestWords(
  tokenizer: TextTokenizer | undefined,
  logits: Float64Array,
  count: number,
): readonly MaskWord[] {
  const shares = softmax(logits);
  const score = (id: number): number => shares[id] as number;
  const least = kthLargest(shares, count);
  return [...shares.keys()]
    .filter((id) => score(id) >= least)
    .sort((a, b) => score(b) - score(a))
    .slice(0, count)
    .map((id) => ({ id, word: tokenizer?.decode([id]) ?? '', score: score(id) }));
}
