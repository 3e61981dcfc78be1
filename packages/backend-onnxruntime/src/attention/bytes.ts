import type { ChosenAttention as AttentionRequest } from '@topk-attention/core/backend';
import { blockSizeOf, CHUNKS_WORTH_A_TRANSPOSE } from './variant.js';

/** The engine's allocator splits what it reuses. */
const ALLOCATOR_SLACK = 1.15;
/**
 * Places that a chunk's session keeps for its scores, from the second run on: a softmax reuses the scores' own, a choice
 * of blocks leaves the next run to take a second one, and a mask or bias is added into a second one beside a part of its
 * own. Measured as what a process grows by: 1.0, 2.0 and 2.4.
 */
const PLACES = { softmax: 1.1, selection: 2, masked: 2.4 };

/** Random numbers are made in JavaScript, whose garbage is collected now and then. */
const GARBAGE_OF_RANDOM_NUMBERS = 12 * 2 ** 20;
/** Results of chunks that were joined are garbage too: V8 collects the young of its arrays when they come to this. */
const MOST_GARBAGE = 32 * 2 ** 20;

/** Bytes that a chunk's session keeps in its arena: scores, the candidates of the chosen blocks, the gathered value rows. */
export function arenaBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, headDim, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  const bias = request.relativeBias === undefined ? 0 : queryHeads * chunk * keyLength * 4;
  const [b = 0, h = 0, q = 0, width = 0] = request.bias ?? [];
  const ofBias = q === 1 ? 0 : 2 * b * h * chunk * width;
  const fixed = bias + ofBias + placesOf(request) * rows * keyLength * 4 + rows * (valueDim + headDim) * 4;
  if (k === 'all') return Math.ceil(fixed * ALLOCATOR_SLACK);
  const candidates = rows * k * (blockSizeOf({ request }) ?? 0) * 4;
  const kept = rows * k * (valueDim * 4 + 16);
  // The candidates are gone by the time value rows are gathered, but their places are too small for those.
  return Math.ceil((fixed + Math.max(candidates, kept + candidates / 2)) * ALLOCATOR_SLACK);
}

function placesOf({ k, causal, keyLengths, mask, bias, relativeBias }: AttentionRequest): number {
  if (causal || keyLengths || mask !== undefined || bias !== undefined) return PLACES.masked;
  return k === 'all' && relativeBias === undefined ? PLACES.softmax : PLACES.selection;
}

/** Transient bytes of a call: the arena, and what is made once for all chunks (keys transposed, the window of relative biases). */
export function scratchBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, queryLength, keyHeads, keyLength, headDim } = request;
  const isTransposed = Math.ceil(queryLength / chunk) >= CHUNKS_WORTH_A_TRANSPOSE;
  const columns = isTransposed ? batch * keyHeads * keyLength * headDim * 4 : 0;
  const window = request.relativeBias === undefined ? 0 : queryHeads * chunk * (keyLength + queryLength) * 4;
  return columns + window + garbageBytes(request, chunk) + arenaBytes(request, chunk);
}

/** What JavaScript has not collected yet: parts of results that were joined, and random numbers of chunks before. */
function garbageBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, queryLength, valueDim, k, dropout, saves } = request;
  const rows = batch * queryHeads * queryLength;
  const kept = k === 'all' ? 0 : k;
  const parts = chunk < queryLength ? 4 * rows * (valueDim + (saves ? 2 * kept : 0)) : 0;
  const random =
    dropout === undefined ? 0 : GARBAGE_OF_RANDOM_NUMBERS + 8 * batch * queryHeads * chunk * kept;
  return Math.min(parts, MOST_GARBAGE) + random;
}

/** The scores, or the gathered value rows. */
export function largestBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  return 4 * rows * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
}
