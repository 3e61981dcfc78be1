import type { Backend } from '../contract/backend.js';
import type { LinearAttentionRequest } from '../contract/linear-attention.js';

/** Consecutive queries or keys. */
export interface Range {
  readonly start: number;
  readonly size: number;
}

/**
 * A step of the work: queries read the sums over earlier keys, and pairs with the keys of their own block as far as they
 * see them; then the keys enter the sums.
 */
export interface Block {
  readonly queries?: Range;
  readonly keys?: Range;
}

/**
 * The blocks of a call, in the order of their work. Without causality all keys come first, then all queries. With it,
 * queries before the first key, keys before the first query, and then blocks of as many queries as keys.
 */
export function blocksOf(
  { causal, queryLength, keyLength }: Pick<LinearAttentionRequest, 'causal' | 'queryLength' | 'keyLength'>,
  chunk: number,
): readonly Block[] {
  if (!causal) {
    return [
      ...rangesOf(0, keyLength, chunk).map((keys) => ({ keys })),
      ...rangesOf(0, queryLength, chunk).map((queries) => ({ queries })),
    ];
  }
  const keysBefore = Math.max(0, keyLength - queryLength);
  const queriesBefore = Math.max(0, queryLength - keyLength);
  return [
    ...rangesOf(0, queriesBefore, chunk).map((queries) => ({ queries })),
    ...rangesOf(0, keysBefore, chunk).map((keys) => ({ keys })),
    ...rangesOf(queriesBefore, queryLength, chunk).map((queries) => ({
      queries,
      keys: { start: queries.start - queriesBefore + keysBefore, size: queries.size },
    })),
  ];
}

/**
 * Starts the work of a block, so that blocks are alike and one is freed before the next; nothing where one chunk takes all,
 * which is best left whole.
 */
export function flushOf(
  { queryLength, keyLength }: Pick<LinearAttentionRequest, 'queryLength' | 'keyLength'>,
  chunk: number,
  backend: Backend,
): () => void {
  return chunk < Math.max(queryLength, keyLength) ? () => backend.flush() : () => {};
}

function rangesOf(from: number, to: number, chunk: number): Range[] {
  const ranges: Range[] = [];
  for (let start = from; start < to; start += chunk)
    ranges.push({ start, size: Math.min(chunk, to - start) });
  return ranges;
}
