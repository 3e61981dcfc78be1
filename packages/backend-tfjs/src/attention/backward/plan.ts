import { sizeOf } from '@topk-attention/core';
import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import { type TileSizes, tileSizes } from '../tiles.js';

/**
 * Gathered elements per tile: 1,024 rows with k 64 and D 64. On tfjs-node larger ones are no faster (microseconds per
 * query of 12 heads at 8,192 keys: 466 with 128 rows, 321, 258, 241 with 1,024, 267, 238 with 4,096).
 */
const TILE_ELEMENTS = 2 ** 22;

/** Why the fused backward pass cannot take a request. The kept lists are read to number the gathered rows. */
export function refusesBackward({ name, traits }: Engine, request: AttentionRequest): readonly string[] {
  const { batch, keyHeads, keyLength, dtype, k } = request;
  return [
    ...(dtype === 'f32' ? [] : [`dtype ${dtype}: tfjs computes in f32`]),
    ...(k === 'all' ? ['all keys: there are no lists to gather by'] : []),
    ...(traits.readsAtOnce ? [] : [`engine ${name}: its results cannot be read synchronously`]),
    ...(batch * keyHeads * (keyLength + 1) < 2 ** 31 ? [] : ['more than 2^31 key rows: row numbers are i32']),
  ];
}

/** Query chunk whose gathered rows fill one tile. */
export function backwardChunk(request: AttentionRequest): number {
  const { batch, queryHeads, headDim, valueDim, k } = request;
  const rows = TILE_ELEMENTS / (Math.max(headDim, valueDim) * (k === 'all' ? 1 : k));
  return Math.max(1, Math.round(rows / (batch * queryHeads)));
}

/** Largest array of a tile: the rows gathered for it, or the sums for the keys of its heads. */
export function backwardLargestBytes(request: AttentionRequest, chunk: number): number {
  const { rows, keyRows, width, k } = tile(request, chunk);
  return 4 * Math.max(rows * k * width, keyRows * width, biasBytes(request, rows) / 4);
}

/**
 * Peak transient bytes, without the gradients themselves: when a tile's rows are multiplied or scattered, when its
 * sums are added to the running sums, or when the tiles' results are joined.
 */
export function backwardScratchBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dropout } = request;
  const { rows, keyRows, width, k, parts } = tile(request, chunk);
  const lists = 4 * rows * k * (dropout === undefined ? 7 : 11);
  const own = 4 * rows * (2 * headDim + valueDim);
  // Keys and values with their row of zeros; running sums; the tile's sums.
  const keys = 4 * keyRows * (headDim + valueDim);
  const sums = parts.queries > 1 ? keys : 0;
  const bias = biasBytes(request, rows);
  const buckets = request.relativeBias === undefined ? 0 : 4 * (queryLength + keyLength);
  const working = keys + sums + lists + own + Math.max(4 * rows * k * width + keys, keys + 2 * bias);
  const adding = keys + 2 * sums + own + 4 * keyRows * width + bias;
  const isJoined = parts.queries * parts.heads * parts.batches > 1;
  const joining = Math.max(
    batch * queryHeads * queryLength * headDim,
    batch * keyHeads * keyLength * Math.max(headDim, valueDim),
    request.bias === undefined ? 0 : sizeOf(request.bias),
  );
  // A single tile's sums become the gradients.
  return buckets + Math.max(isJoined ? working : working - keys, adding, isJoined ? 4 * joining : 0);
}

function tile(
  request: AttentionRequest,
  chunk: number,
): { rows: number; keyRows: number; width: number; k: number; parts: TileSizes } {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, k } = request;
  const { batches, heads, queries } = tileSizes(request, batch * queryHeads * chunk);
  return {
    rows: batches * heads * groupSize(request) * queries,
    keyRows: batches * heads * (keyLength + 1),
    width: Math.max(headDim, valueDim),
    k: k === 'all' ? 1 : k,
    parts: {
      batches: Math.ceil(batch / batches),
      heads: Math.ceil(keyHeads / heads),
      queries: Math.ceil(queryLength / queries),
    },
  };
}

/** The part of the bias that a tile's scores are summed into. */
function biasBytes({ bias, keyLength }: AttentionRequest, rows: number): number {
  if (bias === undefined || bias[3] === 1) return 0;
  return 4 * rows * (keyLength + 1);
}
