import type { AttentionInputs, AttentionRequest } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import type { Tf, TfTensor } from '../tf.js';
import type { QueryTile } from './tiles.js';

/** Everything the tiles of a forward pass share. */
export interface ForwardPass {
  readonly engine: Engine;
  readonly request: AttentionRequest;
  readonly inputs: AttentionInputs<TfTensor>;
  /**
   * True when no product of q and k can be NaN or infinite, the biases hold nothing but numbers and -inf, and the values
   * are numbers: then what is not valid can be hidden by adding -inf, and weights of 0 hide any value.
   */
  readonly isOrdinary: boolean;
}

/** What `run` returns, its tensors left out: those are freed. */
export function inScope<T>(tf: Tf, run: () => T): T {
  const made: T[] = [];
  tf.tidy(() => {
    made.push(run());
  });
  return made[0] as T;
}

/** Query heads of a tile, counted from the first of its first batch entry. */
export function queryHeadsOf({ queryHeads, keyHeads }: AttentionRequest, tile: QueryTile): number {
  return tile.heads * (queryHeads / keyHeads);
}

/** Rows (query, head) of a tile. */
export function rowsOf(request: AttentionRequest, tile: QueryTile): number {
  return tile.batches * queryHeadsOf(request, tile) * tile.queries;
}

/** Keys that the last query of a tile may see, at least one: what lies behind them is not multiplied. */
export function visibleKeys(
  { causal, keyLength, queryLength }: AttentionRequest,
  { query, queries }: QueryTile,
): number {
  return causal ? Math.max(1, Math.min(keyLength, query + queries + keyLength - queryLength)) : keyLength;
}

/** Calls `take` for each run of rows that lie together in a result [B, Hq, Lq, ...], with their numbers here and there. */
export function eachRun(
  request: AttentionRequest,
  tile: QueryTile,
  take: (rowOfTile: number, rowOfAll: number, count: number) => void,
): void {
  const { queryHeads, keyHeads, queryLength } = request;
  const heads = queryHeadsOf(request, tile);
  const first = tile.head * (queryHeads / keyHeads);
  for (let entry = 0; entry < tile.batches; entry++) {
    for (let head = 0; head < heads; head++) {
      const row = (entry * heads + head) * tile.queries;
      const all = ((tile.batch + entry) * queryHeads + first + head) * queryLength + tile.query;
      take(row, all, tile.queries);
    }
  }
}
