import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';

/** A part of the queries computed at once: some batches, the query heads of some key heads, some queries. */
export interface QueryTile {
  readonly batch: number;
  readonly batches: number;
  /** First key head. */
  readonly head: number;
  readonly heads: number;
  readonly query: number;
  readonly queries: number;
}

/** Sizes of every tile except the last along each axis. */
export interface TileSizes {
  readonly batches: number;
  readonly heads: number;
  readonly queries: number;
}

/**
 * The largest tile of at most `rows` (query, head) pairs. It fills with queries of one head before it takes other
 * heads, so that their keys and key sums stay in cache. Tiles along an axis are about equally large.
 */
export function tileSizes(request: AttentionRequest, rows: number): TileSizes {
  const { batch, keyHeads, queryLength } = request;
  const group = groupSize(request);
  const ofHead = group * queryLength;
  if (rows < ofHead) return { batches: 1, heads: 1, queries: evenly(queryLength, Math.floor(rows / group)) };
  if (rows < ofHead * keyHeads) {
    return { batches: 1, heads: evenly(keyHeads, Math.floor(rows / ofHead)), queries: queryLength };
  }
  const batches = evenly(batch, Math.floor(rows / (ofHead * keyHeads)));
  return { batches, heads: keyHeads, queries: queryLength };
}

function evenly(extent: number, most: number): number {
  const parts = Math.ceil(extent / Math.max(1, Math.min(most, extent)));
  return Math.ceil(extent / parts);
}

/** Start and size of each part of an axis. */
export function partsOf(extent: number, size: number): readonly { start: number; size: number }[] {
  return Array.from({ length: Math.ceil(extent / size) }, (_, index) => ({
    start: index * size,
    size: Math.min(size, extent - index * size),
  }));
}
