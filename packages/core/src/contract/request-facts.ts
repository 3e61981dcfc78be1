import type { AttentionRequest } from './attention.js';
import { philoxKey } from './philox.js';
import { type BucketOptions, bucketOf } from './relative-buckets.js';

/*
 * Facts that follow from a request, stated once for core and backends.
 */

/** Query heads that share a key head. */
export function groupSize({
  queryHeads,
  keyHeads,
}: Pick<AttentionRequest, 'queryHeads' | 'keyHeads'>): number {
  return queryHeads / keyHeads;
}

/**
 * Position of the first query among the keys: causal query i sees keys up to i + this, and key j is at relative
 * position j - i - this. Negative if there are more queries than keys and the request does not give it.
 */
export function queryStartOf({
  queryStart,
  keyLength,
  queryLength,
}: Pick<AttentionRequest, 'queryStart' | 'keyLength' | 'queryLength'>): number {
  return queryStart ?? keyLength - queryLength;
}

/** The options of a request that may hide keys, apart from its relative table. */
type Hiding = Pick<AttentionRequest, 'causal' | 'keyLengths' | 'mask' | 'bias'>;

/** Whether the options may hide a key from a query: by position, or by a bias of -inf. */
export function mayHideKeys(request: Hiding & Pick<AttentionRequest, 'relativeBias'>): boolean {
  return mayMaskKeys(request) || request.relativeBias !== undefined;
}

/** The same if the relative bias's table is known to hold no -inf. */
export function mayMaskKeys({ causal, keyLengths, mask, bias }: Hiding): boolean {
  return causal || keyLengths || mask !== undefined || bias !== undefined;
}

/** Whether multiplying by the scale only changes the exponent, so that either side of a product may take it. */
function isPowerOfTwo(scale: number): boolean {
  return Number.isInteger(Math.log2(Math.abs(scale)));
}

/**
 * Whether the queries may be scaled instead of the scores: exact, and no overflow unless the scores overflow. Any other
 * scale would break exact ties.
 */
export function scalesExactly(scale: number): boolean {
  return Math.abs(scale) <= 1 && isPowerOfTwo(scale);
}

/** About attention's dropout. Its words are those of `randomBits` at (batch, head, query, slot). */
export interface DropoutWords {
  /** A slot is dropped when its unsigned random word is below this. */
  readonly threshold: number;
  /** Factor of a kept weight, 1 / (1 - rate). */
  readonly keptScale: number;
  /** Philox key of the seed, low word first. */
  readonly key: readonly [number, number];
}

/** The numbers of a dropout rate and seed; without dropout, those of rate 0 and seed 0. */
export function dropoutWords(
  { rate, seed }: NonNullable<AttentionRequest['dropout']> = { rate: 0, seed: 0 },
): DropoutWords {
  return { threshold: Math.floor(rate * 2 ** 32), keptScale: 1 / (1 - rate), key: philoxKey(seed) };
}

/** Buckets of the relative positions (key minus query) first, first + 1, ... */
export function relativeBuckets(options: BucketOptions, first: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, at) => bucketOf(first + at, options));
}
