import { bytesPerElement } from '../dtype.js';
import { sizeOf } from '../shape.js';
import type { AttentionRequest, Selection } from './request.js';

/** q, k, v, mask and biases. */
export function attentionInputBytes(request: AttentionRequest, boolBytes = 1): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const floats =
    batch * queryHeads * queryLength * headDim + batch * keyHeads * keyLength * (headDim + valueDim);
  return (
    floats * bytesPerElement(request.dtype) +
    (request.mask === undefined ? 0 : boolBytes * sizeOf(request.mask)) +
    (request.bias === undefined ? 0 : 4 * sizeOf(request.bias)) +
    (request.keyLengths ? 4 * batch : 0) +
    (request.relativeBias === undefined ? 0 : 4 * request.relativeBias.buckets * queryHeads)
  );
}

/**
 * Transient bytes of the composed path for one chunk: the worst of making the scores (two score matrices live at a
 * time, with validity flags or a bias beside them), selecting (scores, NaN flags, scores without NaN), and gathering
 * the value rows of the kept keys.
 */
export function composedAttentionScratch(request: AttentionRequest, chunk: number, boolBytes = 1): number {
  const { batch, queryHeads, keyHeads, keyLength, headDim, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  const scores = 4 * rows * keyLength;
  // Positions of the keys for the whole call and of the chunk's queries, where validity or a bias asks for them.
  const positions = 4 * (keyLength + 2 * chunk);
  const query = 8 * rows * headDim + positions;
  const result = 4 * rows * valueDim;
  const making = 2 * scores + Math.max(boolBytes * flagCount(request, chunk), biasBytes(request, chunk));
  if (k === 'all') {
    const values = 4 * batch * keyHeads * keyLength * valueDim;
    const isMasked =
      request.causal || request.keyLengths || request.mask !== undefined || request.bias !== undefined;
    const dropout = request.dropout === undefined ? 0 : 2 * scores;
    return Math.max(query + making + dropout, scores + 2 * result) + (isMasked ? 2 * values : 0);
  }
  const lists = rows * k * (request.dropout === undefined ? 24 : 36);
  const gathering = lists + 4 * rows * k * valueDim;
  const selecting =
    Math.max((2 + boolBytes / 4) * scores, blockBytes(request.selection, keyLength, rows, k)) +
    lists +
    8 * rows;
  return query + Math.max(making, selecting, gathering) + 2 * result;
}

/** The largest single tensor of one chunk: its scores, or the value rows gathered for it. */
export function composedAttentionLargest(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, valueDim, k } = request;
  return 4 * batch * queryHeads * chunk * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
}

/** Two-level selection: scores, a copy padded to whole blocks, and the candidates with the keys they stand for. */
export function blockBytes(selection: Selection, keyLength: number, rows: number, k: number): number {
  if (selection.levels === 1) return 0;
  const { blockSize } = selection;
  const blocks = Math.ceil(keyLength / blockSize);
  const padded = keyLength % blockSize === 0 ? 0 : blocks * blockSize;
  // The two last terms: what a row and a block need beside their numbers.
  return 4 * rows * (keyLength + padded + blocks + 4 * k * blockSize + 2) + 12 * blockSize;
}

/** Validity flags of one chunk, before they broadcast to every head. */
function flagCount(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, mask } = request;
  const conditions = Number(request.causal) + Number(request.keyLengths) + Number(mask !== undefined);
  if (conditions === 0) return 0;
  const perBatch = request.keyLengths || (mask !== undefined && mask[0] !== 1) ? batch : 1;
  const perHead = mask !== undefined && mask[1] !== 1 ? queryHeads : 1;
  return conditions * perBatch * perHead * chunk * keyLength;
}

/** Parts of the biases that belong to one chunk, with what makes them. */
function biasBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, bias, relativeBias } = request;
  const [b = 0, h = 0, q = 0, width = 0] = bias ?? [];
  const own = q === 1 ? 0 : 4 * b * h * chunk * width;
  if (relativeBias === undefined) return own;
  // Looked up row by row, then transposed, while one score matrix (counted as two) waits; indices in i32.
  const relative = 4 * queryHeads * chunk * keyLength;
  const waiting = 4 * batch * queryHeads * chunk * keyLength;
  const indices = 8 * chunk * keyLength;
  return Math.max(own, relative, relative + Math.max(relative, indices) - waiting);
}

/** Transient bytes of the composed backward pass for one chunk, with the running sums of dK and dV. */
export function composedBackwardScratch(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyHeads, keyLength, headDim, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  const sums = 2 * batch * keyHeads * keyLength * (headDim + valueDim) * 4;
  if (k === 'all') return sums + 4 * rows * keyLength * 4;
  const dense = request.bias !== undefined && request.bias[3] !== 1 ? 2 * rows * keyLength * 4 : 0;
  return sums + dense + rows * k * (2 * Math.max(headDim, valueDim) * 4 + 24);
}
