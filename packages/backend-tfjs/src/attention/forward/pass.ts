import {
  type AttentionInputs,
  type AttentionRequest,
  groupSize,
  queryStartOf,
} from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import type { TfTensor } from '../../tf.js';
import type { QueryTile } from '../tiles.js';

/** Everything the tiles of a forward pass share. */
export interface ForwardPass {
  readonly engine: Engine;
  readonly request: AttentionRequest;
  readonly inputs: AttentionInputs<TfTensor>;
  /**
   * True when no product of q and k can be NaN or infinite, the biases hold only numbers and -inf, and the values are
   * numbers. Invalid keys can then be hidden by adding -inf, and weights of 0 hide any value.
   */
  readonly isOrdinary: boolean;
}

/** Number of query heads of a tile. */
export function queryHeadsOf(request: AttentionRequest, tile: QueryTile): number {
  return tile.heads * groupSize(request);
}

/** Number of rows, (query, head) pairs, of a tile. */
export function rowsOf(request: AttentionRequest, tile: QueryTile): number {
  return tile.batches * queryHeadsOf(request, tile) * tile.queries;
}

/** Number of keys up to the last one visible to the tile's last query, at least one: later keys are not multiplied. */
export function visibleKeys(request: AttentionRequest, { query, queries }: QueryTile): number {
  const { causal, keyLength } = request;
  return causal ? Math.max(1, Math.min(keyLength, query + queries + queryStartOf(request))) : keyLength;
}

/**
 * Calls `take` for each run of a tile's rows that are contiguous in a result [B, Hq, Lq, ...], with their positions in
 * both.
 */
export function eachRun(
  request: AttentionRequest,
  tile: QueryTile,
  take: (rowOfTile: number, rowOfAll: number, count: number) => void,
): void {
  const { queryHeads, queryLength } = request;
  const heads = queryHeadsOf(request, tile);
  const first = tile.head * groupSize(request);
  for (let entry = 0; entry < tile.batches; entry++) {
    for (let head = 0; head < heads; head++) {
      const row = (entry * heads + head) * tile.queries;
      const all = ((tile.batch + entry) * queryHeads + first + head) * queryLength + tile.query;
      take(row, all, tile.queries);
    }
  }
}
