import type { AttentionRequest } from '../contract/attention.js';
import { philoxKey, randomWord } from '../contract/philox.js';
import { queryStartOf } from '../contract/request-facts.js';
import type { Shape } from '../contract/shape.js';
import type { Numbers } from './storage.js';

/** The tensors of an attention call as plain row-major arrays; shapes follow from the request. */
export interface AttentionArrays {
  /** [B, Hq, Lq, D] */
  readonly q: Numbers;
  /** [B, Hkv, Lk, D] */
  readonly k: Numbers;
  /** [B, Hkv, Lk, Dv] */
  readonly v: Numbers;
  /** 1 = keep; shape `request.mask` */
  readonly mask?: Numbers;
  /** [B] */
  readonly keyLengths?: Numbers;
  /** shape `request.bias` */
  readonly bias?: Numbers;
  /** [buckets, Hq] */
  readonly relativeTable?: Numbers;
}

/** One query: which sequence, which head, which position. */
export interface QueryPosition {
  readonly batch: number;
  readonly head: number;
  readonly query: number;
}

/** The kept keys of one query, ascending, and their scores. */
export interface KeptKeys {
  readonly keys: readonly number[];
  readonly scores: readonly number[];
  /** True if a valid score is NaN; then the whole row is. */
  readonly hasNaN: boolean;
}

/** Grouped-query attention: consecutive query heads share a key head. */
export function keyHeadOf(request: AttentionRequest, head: number): number {
  return Math.floor((head * request.keyHeads) / request.queryHeads);
}

/** Where element [b, h, i, j] is in an array of a shape whose extents may be 1 (repeated). */
export function broadcastOffset(shape: Shape, b: number, h: number, i: number, j: number): number {
  let offset = 0;
  [b, h, i, j].forEach((coordinate, axis) => {
    const extent = shape[axis] as number;
    offset = offset * extent + (extent === 1 ? 0 : coordinate);
  });
  return offset;
}

/**
 * T5's bucket of a key: near positions have one each, farther ones share logarithmically wider ones. Query i is at the
 * position of key i + queryStart, for causal masks too. Each step rounds to f32 as in the published code, because that
 * decides which side of an edge a position falls on.
 */
export function relativeBucket(request: AttentionRequest, query: number, key: number): number {
  if (request.relativeBias === undefined) throw new RangeError('the request has no relative bias');
  const { buckets, bidirectional, maxDistance } = request.relativeBias;
  const position = key - (query + queryStartOf(request));
  const count = bidirectional ? Math.floor(buckets / 2) : buckets;
  const first = bidirectional && position > 0 ? count : 0;
  const distance = bidirectional ? Math.abs(position) : Math.max(-position, 0);
  const near = Math.floor(count / 2);
  if (distance < near) return first + distance;
  const { fround } = Math;
  const octaves = fround(Math.log(fround(distance / near)));
  const share = fround(octaves / fround(Math.log(maxDistance / near)));
  return first + Math.min(near + Math.trunc(fround(share * (count - near))), count - 1);
}

/** Whether masks, lengths and causality let this query see this key. */
function isVisible(
  request: AttentionRequest,
  arrays: AttentionArrays,
  at: QueryPosition,
  key: number,
): boolean {
  const { batch, head, query } = at;
  if (request.causal && key > query + queryStartOf(request)) return false;
  if (arrays.keyLengths !== undefined && key >= (arrays.keyLengths[batch] as number)) return false;
  if (request.mask === undefined || arrays.mask === undefined) return true;
  return arrays.mask[broadcastOffset(request.mask, batch, head, query, key)] !== 0;
}

/** The precision scores are rounded to: f32, as on every engine, or f64 (no rounding). */
export type ScorePrecision = 'f32' | 'f64';

/** Rounding to that precision. */
export function roundingTo(precision: ScorePrecision): (x: number) => number {
  return precision === 'f32' ? Math.fround : (x) => x;
}

/** scale * q . k + biases, rounded after each step; infinite beyond the largest number of the precision. */
function scoreOf(
  request: AttentionRequest,
  arrays: AttentionArrays,
  at: QueryPosition,
  key: number,
  round: (x: number) => number,
): number {
  const { batch, head, query } = at;
  const { headDim, keyHeads, keyLength, queryHeads, queryLength } = request;
  const qStart = ((batch * queryHeads + head) * queryLength + query) * headDim;
  const kStart = ((batch * keyHeads + keyHeadOf(request, head)) * keyLength + key) * headDim;
  let dot = 0;
  for (let d = 0; d < headDim; d++)
    dot += (arrays.q[qStart + d] as number) * (arrays.k[kStart + d] as number);
  let score = round(round(request.scale) * round(dot));
  if (request.bias !== undefined && arrays.bias !== undefined) {
    score = round(score + (arrays.bias[broadcastOffset(request.bias, batch, head, query, key)] as number));
  }
  if (arrays.relativeTable !== undefined) {
    const bucket = relativeBucket(request, query, key);
    score = round(score + (arrays.relativeTable[bucket * queryHeads + head] as number));
  }
  return score;
}

/**
 * The selection: valid keys are the visible ones with a score above -inf; the k with the largest scores are kept
 * (all of them for exact attention, or when there are fewer). The sort is stable and keys enter it in ascending
 * order, so of equal scores the lower index comes first.
 */
export function selectKeys(
  request: AttentionRequest,
  arrays: AttentionArrays,
  at: QueryPosition,
  precision: ScorePrecision,
): KeptKeys {
  const round = roundingTo(precision);
  const valid: { key: number; score: number }[] = [];
  let hasNaN = false;
  for (let key = 0; key < request.keyLength; key++) {
    if (!isVisible(request, arrays, at, key)) continue;
    const score = scoreOf(request, arrays, at, key, round);
    if (score === Number.NEGATIVE_INFINITY) continue; // an infinite negative bias is a mask
    if (Number.isNaN(score)) hasNaN = true;
    valid.push({ key, score });
  }
  const kept =
    request.k === 'all' || hasNaN || valid.length <= request.k
      ? valid
      : [...valid]
          .sort((a, b) => (a.score === b.score ? 0 : b.score - a.score)) // inf - inf would be NaN
          .slice(0, request.k)
          .sort((a, b) => a.key - b.key);
  return { keys: kept.map(({ key }) => key), scores: kept.map(({ score }) => score), hasNaN };
}

/** Softmax over the kept scores only: the weights of a row sum to 1 (paper section 1.2, step 4). */
export function softmaxOf(scores: readonly number[]): number[] {
  const largest = scores.reduce((soFar, score) => Math.max(soFar, score), Number.NEGATIVE_INFINITY);
  const exponentials = scores.map((score) => Math.exp(score - largest)); // NaN beside +inf, as in every framework
  const total = exponentials.reduce((soFar, value) => soFar + value, 0);
  return exponentials.map((value) => value / total);
}

/** Weights of the scores of a row: softmax, or sigmoids, where a +inf makes the row NaN as it does with softmax. */
export function weightsOf(
  { sigmoidShift }: Pick<AttentionRequest, 'sigmoidShift'>,
  scores: readonly number[],
): number[] {
  if (sigmoidShift === undefined) return softmaxOf(scores);
  if (scores.includes(Number.POSITIVE_INFINITY)) return scores.map(() => Number.NaN);
  return scores.map((score) => 1 / (1 + Math.exp(-score - sigmoidShift)));
}

/**
 * Factor of each kept weight: 1 / (1 - rate), or 0 if it is dropped. Keyed by (batch, head, query, slot), so the
 * backward pass and any chunking repeat it. The slot is the position in the kept list, or the key for exact attention.
 */
export function dropoutFactors(
  request: AttentionRequest,
  at: QueryPosition,
  keys: readonly number[],
): number[] {
  if (request.dropout === undefined) return keys.map(() => 1);
  const { rate, seed } = request.dropout;
  const threshold = Math.floor(rate * 2 ** 32);
  const key = philoxKey(seed);
  return keys.map((index, position) => {
    const slot = request.k === 'all' ? index : position;
    const random = randomWord([at.batch, at.head, at.query, slot], key);
    return random >= threshold ? 1 / (1 - rate) : 0;
  });
}
