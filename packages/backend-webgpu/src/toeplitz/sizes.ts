import type { DeviceLimits, ToeplitzProductRequest } from '@topk-attention/core/backend';
import { ALIGNMENT, type Binding, windowOf } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import { LARGEST_GRID } from '../runtime/kernel.js';
import type { View } from '../runtime/view.js';

/** Logarithm of the numbers of a series that an invocation holds, of the invocations of a workgroup, and of its tile. */
export const LOG_HELD = 3;
export const LOG_INVOCATIONS = 8;
export const LOG_TILE: number = LOG_INVOCATIONS + LOG_HELD;

/** How a transform of 2^logTotal is divided: 2^logRows rows of 2^logRow. With one row, a workgroup does all of it. */
export interface Split {
  readonly logTotal: number;
  readonly logRows: number;
  readonly logRow: number;
}

/**
 * In one pass if a series fits into the tile, else in rows of about the square root, which leaves room for neighbouring
 * series, so that memory is read in runs.
 */
export function splitOf({ length }: ToeplitzProductRequest, logTile: number): Split {
  const logTotal = Math.ceil(Math.log2(2 * length - 1));
  if (logTotal <= logTile) return { logTotal, logRows: 0, logRow: logTotal };
  const logRow = Math.ceil(logTotal / 2);
  return { logTotal, logRows: logTotal - logRow, logRow };
}

/** Columns travel as series of complex numbers, two columns in one: those of a head, over all sequences. */
export const pairsOf = ({ columns }: ToeplitzProductRequest): number => Math.ceil(columns / 2);
const seriesOf = (request: ToeplitzProductRequest): number => request.batch * pairsOf(request);

/** Bytes of one series on the circle. */
export const circleBytes = ({ logTotal }: Split): number => 8 * 2 ** logTotal;

/** Logarithm of the series that a workgroup transforms, of `lanes`. */
export function logLanesOf(logTile: number, logLength: number, lanes: number): number {
  return Math.min(logTile - logLength, Math.ceil(Math.log2(lanes)), logTile - LOG_HELD);
}

/** Series that are worked on together: some of each of some heads. */
export interface Chunk {
  readonly firstHead: number;
  readonly heads: number;
  readonly firstSeries: number;
  readonly series: number;
  /** Whether it is the first of its heads. */
  readonly isFirst: boolean;
  /** What is bound of tensors [B, H, n, C]: that many of the B H sequences. */
  readonly firstSequence: number;
  readonly sequences: number;
}

/** How large chunks are at most. */
interface ChunkSize {
  readonly heads: number;
  readonly series: number;
  /** Whether a chunk keeps to one entry of the batch, so that no more than its heads need to be bound. */
  readonly isOfOne: boolean;
}

const sequenceBytes = ({ length, columns }: ToeplitzProductRequest): number => 4 * length * columns;

/** So that as many tensors as `copies`, of all circles of a chunk, stay within the target. */
export function chunkSize(
  request: ToeplitzProductRequest,
  split: Split,
  copies: number,
  { targetScratchBytes, maxBufferBytes }: DeviceLimits,
  { bindingBytes }: DeviceFacts,
): ChunkSize {
  const { batch, heads } = request;
  const most = Math.min(targetScratchBytes / copies, bindingBytes, maxBufferBytes);
  const count = Math.max(1, Math.floor(most / circleBytes(split)));
  const isOfOne = batch * heads * sequenceBytes(request) > bindingBytes;
  const series = Math.min(isOfOne ? pairsOf(request) : seriesOf(request), count, LARGEST_GRID);
  const bound = isOfOne ? Math.floor((bindingBytes - ALIGNMENT) / sequenceBytes(request)) : heads;
  return {
    heads: Math.min(heads, bound, Math.max(1, Math.floor(count / series)), LARGEST_GRID),
    series,
    isOfOne,
  };
}

/** All series, some at a time: those of some heads, head by head if one has too many. */
export function chunksOf(request: ToeplitzProductRequest, size: ChunkSize): Chunk[] {
  const chunks: Chunk[] = [];
  const [all, pairs] = [seriesOf(request), pairsOf(request)];
  for (let firstHead = 0; firstHead < request.heads; firstHead += size.heads) {
    const heads = Math.min(size.heads, request.heads - firstHead);
    let firstSeries = 0;
    while (firstSeries < all) {
      const entry = Math.floor(firstSeries / pairs);
      const series = Math.min(size.series, (size.isOfOne ? (entry + 1) * pairs : all) - firstSeries);
      const bound = size.isOfOne
        ? { firstSequence: entry * request.heads + firstHead, sequences: heads }
        : { firstSequence: 0, sequences: request.batch * request.heads };
      chunks.push({ firstHead, heads, firstSeries, series, isFirst: firstSeries === 0, ...bound });
      firstSeries += series;
    }
  }
  return chunks;
}

/** Of a tensor [B, H, n, C] what a chunk needs. */
export function boundOf(
  { length, columns }: ToeplitzProductRequest,
  { firstSequence, sequences }: Chunk,
  x: View,
): Binding {
  const size = length * columns;
  return windowOf(x, firstSequence * size, sequences * size);
}

/** What the kernels do not do. */
export function refusalsOf(request: ToeplitzProductRequest, logTile: number, facts: DeviceFacts): string[] {
  const { heads, length, dtype } = request;
  const reasons: string[] = [];
  if (dtype !== 'f32') reasons.push(`${dtype}: made for f32`);
  const split = splitOf(request, logTile);
  if (split.logRow > logTile)
    reasons.push(`${length} tokens: rows of transforms exceed ${2 ** logTile} numbers`);
  const most = Math.max(sequenceBytes(request) + ALIGNMENT, heads * circleBytes(split));
  if (most > facts.bindingBytes) {
    reasons.push(`a head of ${most} bytes exceeds a binding of ${facts.bindingBytes}`);
  }
  return reasons;
}
