import type { DeviceLimits, ToeplitzProductRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import { LARGEST_GRID } from '../runtime/kernel.js';

/** Logarithm of the complex numbers in the tile of a workgroup, and of the invocations that share it. */
export const LOG_TILE = 11;
export const LOG_INVOCATIONS = 8;

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
  return Math.min(logTile - logLength, Math.ceil(Math.log2(lanes)), LOG_INVOCATIONS);
}

/** Series that are worked on together: some of each of some heads. */
export interface Chunk {
  readonly firstHead: number;
  readonly heads: number;
  readonly firstSeries: number;
  readonly series: number;
}

/** Most heads and series of a chunk whose tensors of `copies` complex numbers each stay within the target. */
export function chunkSize(
  request: ToeplitzProductRequest,
  split: Split,
  copies: number,
  { targetScratchBytes, maxBufferBytes }: DeviceLimits,
  { bindingBytes }: DeviceFacts,
): { readonly heads: number; readonly series: number } {
  const each = circleBytes(split);
  const most = Math.min(targetScratchBytes / copies, bindingBytes, maxBufferBytes);
  const count = Math.max(1, Math.floor(most / each));
  const series = Math.min(seriesOf(request), count, LARGEST_GRID);
  return { heads: Math.min(request.heads, Math.max(1, Math.floor(count / series)), LARGEST_GRID), series };
}

/** All series, some at a time: those of some heads, head by head if one has too many. */
export function chunksOf(
  request: ToeplitzProductRequest,
  { heads, series }: { readonly heads: number; readonly series: number },
): Chunk[] {
  const chunks: Chunk[] = [];
  const all = seriesOf(request);
  for (let firstHead = 0; firstHead < request.heads; firstHead += heads) {
    for (let firstSeries = 0; firstSeries < all; firstSeries += series) {
      chunks.push({
        firstHead,
        heads: Math.min(heads, request.heads - firstHead),
        firstSeries,
        series: Math.min(series, all - firstSeries),
      });
    }
  }
  return chunks;
}

/** What the kernels do not do. */
export function refusalsOf(request: ToeplitzProductRequest, logTile: number, facts: DeviceFacts): string[] {
  const { batch, heads, length, columns, dtype } = request;
  const reasons: string[] = [];
  if (dtype !== 'f32') reasons.push(`${dtype}: made for f32`);
  const split = splitOf(request, logTile);
  if (split.logRow > logTile)
    reasons.push(`${length} tokens: rows of transforms exceed ${2 ** logTile} numbers`);
  const most = Math.max(
    4 * batch * heads * length * columns,
    4 * heads * (2 * length - 1),
    heads * circleBytes(split),
  );
  if (most > facts.bindingBytes) {
    reasons.push(`a tensor of ${most} bytes exceeds a binding of ${facts.bindingBytes}`);
  }
  return reasons;
}
