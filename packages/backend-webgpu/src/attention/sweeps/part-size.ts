import { bytesPerElement } from '@topk-attention/core';
import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { ALIGNMENT } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import { relativeBytes } from '../shared/relative-bias.js';
import { TILE_KEYS, type TileRows } from '../shared/scores/product.js';
import { guardWords } from './guard-kernel.js';
import { capacityOf, groupsOf, LARGEST_K } from './sizes.js';
import { slowBytes } from './slow-kernel.js';

/**
 * Lists of one part of the work stay below the first, or below the second where the call saves what it keeps, whose bytes are
 * no fewer: larger parts are a little faster (docs/kernels/forward-plain.md) and take fewer launches. Scratch rows of the slow
 * path stay below the third.
 */
const LIST_BYTES = 2 ** 27;
const SAVING_LIST_BYTES = 2 ** 28;
const SLOW_BYTES = 2 ** 25 + 2 ** 24;
/** Workgroups that keep a large device busy, and the fewest keys worth a workgroup. */
const WORKGROUPS = 4096;
const LEAST_SEGMENT = 8 * TILE_KEYS;
/** Query-key pairs per dispatch: some milliseconds on a large device, less than a second on a small one. */
const PAIRS_PER_DISPATCH = 2 ** 30;
const SLOW_WORKGROUPS = 128;
/** If there are enough queries, a part has a multiple of this: whole tiles of rows. */
export const QUERY_STEP = 128;

/**
 * Overrides of what follows from the request and the device: lets tests reach with few keys what otherwise needs many.
 */
export interface SweepsTuning {
  readonly capacity?: number;
  readonly shift?: number;
  readonly rank?: number;
  readonly rows?: TileRows;
  readonly listBytes?: number;
  readonly segment?: number;
  readonly shares?: number;
  readonly slowRows?: number;
  /** u32 [COUNTER_WORDS], added to; see `COUNTERS`. */
  readonly counters?: Span;
}

export interface Sizes {
  readonly k: number;
  readonly capacity: number;
  readonly groups: number;
}

export function sizesOf({ k }: AttentionRequest, { capacity }: SweepsTuning): Sizes {
  const kept = k === 'all' ? LARGEST_K : k;
  return { k: kept, capacity: capacity ?? capacityOf(kept), groups: groupsOf(kept) };
}

/** Bytes of a row's list, which first holds the maxima of its groups. */
export function rowBytes(request: AttentionRequest, tuning: SweepsTuning): number {
  const { capacity, groups } = sizesOf(request, tuning);
  return Math.max(8 * capacity, 4 * groups);
}

/** Heads and queries at a time. */
export function partSize(
  request: AttentionRequest,
  chunk: number,
  facts: Pick<DeviceFacts, 'bindingBytes'>,
  tuning: SweepsTuning,
): { readonly heads: number; readonly queries: number } {
  const { batch, queryHeads, queryLength, keyLength, headDim, valueDim, saves, k } = request;
  const group = groupSize(request);
  const limit = facts.bindingBytes - ALIGNMENT;
  const budget = Math.min(tuning.listBytes ?? (saves ? SAVING_LIST_BYTES : LIST_BYTES), limit);
  const rows = Math.max(group, Math.floor(budget / rowBytes(request, tuning)));
  const width = Math.max(
    Math.max(headDim, valueDim) * bytesPerElement(request.dtype),
    saves && k !== 'all' ? 4 * k : 0,
  );
  const total = (batch * queryHeads) / group;
  const fits = (groups: number): boolean =>
    groups * keyLength * width <= limit && groups * group * queryLength * width <= limit;
  // All heads at once if that leaves at least a tile of queries for each.
  let groups = total;
  while (groups > 1 && !(fits(groups) && rows / (groups * group) >= Math.min(QUERY_STEP, queryLength))) {
    groups = Math.ceil(groups / 2);
  }
  const most = Math.max(1, Math.floor(rows / (groups * group)));
  const whole = Math.min(most >= QUERY_STEP ? QUERY_STEP * Math.floor(most / QUERY_STEP) : most, chunk);
  // Parts of roughly equal size: a small last one would leave the device idle.
  const even = QUERY_STEP * Math.ceil(queryLength / Math.ceil(queryLength / whole) / QUERY_STEP);
  return { heads: groups * group, queries: Math.min(whole, even, queryLength) };
}

/** Rows of scores per workgroup of the slow path, and the number of workgroups. */
export function slowSize(
  request: AttentionRequest,
  workgroupBytes: number,
  tuning: SweepsTuning,
): { readonly rows: number; readonly workgroups: number } {
  const bytes = 4 * request.keyLength;
  let rows = tuning.slowRows ?? 8;
  while (
    rows > 1 &&
    (rows * bytes * SLOW_WORKGROUPS > SLOW_BYTES ||
      slowBytes({ headDim: request.headDim, rows }) > workgroupBytes)
  ) {
    rows /= 2;
  }
  const workgroups = Math.max(1, Math.min(SLOW_WORKGROUPS, Math.floor(SLOW_BYTES / (rows * bytes))));
  return { rows, workgroups };
}

export function scratchBytes(
  request: AttentionRequest,
  chunk: number,
  facts: DeviceFacts,
  tuning: SweepsTuning,
): number {
  const { heads, queries } = partSize(request, chunk, facts, tuning);
  const slow = slowSize(request, facts.workgroupBytes, tuning);
  const rows = heads * queries;
  const guards = guardWords(request.batch * request.keyHeads, request.relativeBias !== undefined);
  const small = 4 * (guards + heads) + relativeBytes(request);
  return (
    rows * (rowBytes(request, tuning) + 12) + 4 * slow.rows * slow.workgroups * request.keyLength + small
  );
}

/** Workgroups that share the sample's tiles for one tile of rows: a power of two up to `most`. */
export function sharesOf(rowTiles: number, most: number): number {
  let shares = 1;
  while (2 * shares <= most && rowTiles * shares < WORKGROUPS / 4) shares *= 2;
  return shares;
}

/** Keys of one workgroup of the second sweep. */
export function segmentOf(rowTiles: number, visible: number): number {
  const segments = Math.max(1, Math.ceil(WORKGROUPS / rowTiles));
  const keys = Math.max(LEAST_SEGMENT, Math.ceil(visible / segments));
  return TILE_KEYS * Math.ceil(keys / TILE_KEYS);
}

/** How many pieces of that many keys a dispatch of all rows may process. */
export function stepOf(rows: number, keys: number): number {
  return Math.max(1, Math.floor(PAIRS_PER_DISPATCH / (rows * keys)));
}
