import type { AttentionRequest } from '@topk-attention/core';

/**
 * Bytes that a chunk's session keeps in its arena. From the second run on it holds the largest value of a graph, the
 * scores, twice (measured: 201 MiB resident for 96 MiB of scores); softmax and masks reuse those places. Beside them: either
 * the candidates of the chosen blocks or the gathered value rows.
 */
export function arenaBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, headDim, valueDim, k, selection } = request;
  const rows = batch * queryHeads * chunk;
  const bias = request.relativeBias === undefined ? 0 : queryHeads * chunk * keyLength * 4;
  const fixed = bias + 2 * rows * keyLength * 4 + rows * (valueDim + headDim) * 4;
  if (k === 'all') return fixed;
  const candidates = selection.levels === 1 ? 0 : rows * k * selection.blockSize * 4;
  const kept = rows * k * (valueDim * 4 + 16);
  return fixed + Math.max(candidates, kept);
}

/** Transient bytes of a call: the arena, and what is made once for all chunks (keys transposed, the window of relative biases). */
export function scratchBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, queryLength, keyHeads, keyLength, headDim } = request;
  const columns = batch * keyHeads * keyLength * headDim * 4;
  const window = request.relativeBias === undefined ? 0 : queryHeads * chunk * (keyLength + queryLength) * 4;
  return columns + window + arenaBytes(request, chunk);
}

/** The scores, or the gathered value rows. */
export function largestBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  return 4 * rows * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
}
