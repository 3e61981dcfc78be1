import { type ChosenAttention, mayMaskKeys } from '@topk-attention/core/backend';
import { blockSizeOf, CHUNKS_WORTH_A_TRANSPOSE, spareColumns } from '../emit/attention/variant.js';

/** The engine's allocator splits the blocks that it reuses. */
const ALLOCATOR_SLACK = 1.15;
/**
 * Score-sized buffers that a chunk's session keeps, from its second run on. A softmax works in place; choosing blocks makes
 * the next run take a second buffer; adding a mask or bias needs a second buffer and the part that is added. Measured as the
 * growth of a process: 1.0, 2.0 and 2.4.
 */
const PLACES = { softmax: 1.1, selection: 2, masked: 2.4 };

/** Random numbers are made in JavaScript, which collects its garbage now and then. */
const GARBAGE_OF_RANDOM_NUMBERS = 12 * 2 ** 20;
/** Chunk results are garbage once joined: V8 collects young arrays when they reach this size. */
const MOST_GARBAGE = 32 * 2 ** 20;

/** Bytes that a chunk's session keeps in its arena: scores, candidates of the chosen blocks, gathered value rows. */
export function arenaBytes(request: ChosenAttention, chunk: number): number {
  const { batch, queryHeads, keyLength, headDim, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  const bias = request.relativeBias === undefined ? 0 : queryHeads * chunk * keyLength * 4;
  const [b = 0, h = 0, q = 0, width = 0] = request.bias ?? [];
  const ofBias = q === 1 ? 0 : 2 * b * h * chunk * width;
  const fixed = bias + ofBias + placesOf(request) * rows * keyLength * 4 + rows * (valueDim + headDim) * 4;
  if (k === 'all') return Math.ceil(fixed * ALLOCATOR_SLACK);
  const candidates = rows * k * (blockSizeOf({ request }) ?? 0) * 4;
  const kept = rows * k * (valueDim * 4 + 16);
  // Candidates are freed before value rows are gathered, but their blocks are too small for the rows.
  return Math.ceil((fixed + Math.max(candidates, kept + candidates / 2)) * ALLOCATOR_SLACK);
}

function placesOf(request: ChosenAttention): number {
  if (mayMaskKeys(request)) return PLACES.masked;
  return request.k === 'all' && request.relativeBias === undefined ? PLACES.softmax : PLACES.selection;
}

/** Transient bytes of a call: the arena, and tensors made once for all chunks (transposed keys, the window of relative biases). */
export function scratchBytes(request: ChosenAttention, chunk: number): number {
  const { batch, queryHeads, queryLength, keyHeads, keyLength, headDim } = request;
  const isTransposed = Math.ceil(queryLength / chunk) >= CHUNKS_WORTH_A_TRANSPOSE;
  const columns = isTransposed ? batch * keyHeads * keyLength * headDim * 4 : 0;
  const window =
    request.relativeBias === undefined
      ? 0
      : queryHeads * chunk * (keyLength + queryLength + spareColumns(request)) * 4;
  return columns + window + garbageBytes(request, chunk) + arenaBytes(request, chunk);
}

/** Garbage not yet collected: chunk results that were joined, and random numbers of earlier chunks. */
function garbageBytes(request: ChosenAttention, chunk: number): number {
  const { batch, queryHeads, queryLength, valueDim, k, dropout, saves } = request;
  const rows = batch * queryHeads * queryLength;
  const kept = k === 'all' ? 0 : k;
  const parts = chunk < queryLength ? 4 * rows * (valueDim + (saves ? 2 * kept : 0)) : 0;
  const random =
    dropout === undefined ? 0 : GARBAGE_OF_RANDOM_NUMBERS + 8 * batch * queryHeads * chunk * kept;
  return Math.min(parts, MOST_GARBAGE) + random;
}

/** Bytes of the largest tensor: the scores, or the gathered value rows. */
export function largestBytes(request: ChosenAttention, chunk: number): number {
  const { batch, queryHeads, keyLength, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  return 4 * rows * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
}
