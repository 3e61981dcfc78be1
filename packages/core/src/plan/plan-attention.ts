import type { DeviceLimits } from '../backend.js';
import { bytesPerElement } from '../dtype.js';
import { TopKError } from '../errors.js';
import { sizeOf } from '../shape.js';
import { formatBytes } from './format.js';
import type { AttentionRequest, Selection } from './request.js';

/** Bytes of each part of an attention call. */
export interface PlannedBytes {
  /** q, k, v, mask and biases: the caller's. */
  readonly inputs: number;
  readonly output: number;
  /** (index, score) lists: 8 k bytes per query and head. */
  readonly saved: number;
  /** Transient, at the worst moment of one chunk. */
  readonly scratch: number;
  readonly total: number;
}

export interface AttentionPlan {
  readonly queryChunk: number;
  readonly chunks: number;
  readonly selection: Selection;
  readonly bytes: PlannedBytes;
  /** Sweeps over all scores that the forward pass makes. */
  readonly passes: number;
}

export interface PlanOptions {
  /** The caller's own chunk, in queries; the plan then only counts its bytes. */
  readonly queryChunk?: number;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number;
  /** The path's own scratch formula; default: that of the composed path. */
  readonly scratchBytes?: (request: AttentionRequest, chunk: number) => number;
}

/**
 * Chunk, selection and bytes of an attention call, from shapes and limits alone: no device is asked.
 *
 * @throws TopKError DOES_NOT_FIT, before anything is allocated, when a chunk of one query exceeds the budget or one
 * tensor exceeds the largest buffer.
 */
export function planAttention(
  request: AttentionRequest,
  limits: DeviceLimits,
  options: PlanOptions = {},
): AttentionPlan {
  const { budgetBytes = Number.POSITIVE_INFINITY, scratchBytes = composedAttentionScratch } = options;
  const { batch, queryHeads, queryLength, valueDim } = request;
  const rows = batch * queryHeads * queryLength;
  const element = bytesPerElement(request.dtype);
  const output = rows * valueDim * element;
  const saved = request.saves && request.k !== 'all' ? rows * request.k * 8 : 0;
  const available = Math.min(budgetBytes - output - saved, Number.MAX_SAFE_INTEGER);
  // Without writing in place the composed path joins its chunks at the end: one result exists twice.
  const isJoined = options.scratchBytes === undefined && !limits.inPlace;
  const transient = (chunk: number): number => {
    const joining = isJoined && chunk < queryLength ? Math.max(output, saved / 2) : 0;
    return Math.max(scratchBytes(request, chunk), joining);
  };
  const fits = (chunk: number): boolean => transient(chunk) <= available;

  const queryChunk = options.queryChunk ?? largestChunk(request, limits, scratchBytes, fits);
  const chunk = Math.min(queryChunk, queryLength);
  const scratch = transient(chunk);
  const largest = Math.max(
    output,
    saved / 2,
    batch * request.keyHeads * request.keyLength * request.headDim * element,
  );
  if (!fits(chunk) || largest > limits.maxBufferBytes) {
    throw doesNotFit('attention', output + saved + scratch, budgetBytes, largest, limits, [
      chunk > 1 ? 'a smaller queryChunk' : 'a smaller batch or fewer heads at a time',
      ...(saved > 0 ? ['a smaller k'] : []),
    ]);
  }
  const inputs = inputBytes(request);
  return {
    queryChunk: chunk,
    chunks: Math.ceil(queryLength / chunk),
    selection: request.selection,
    bytes: { inputs, output, saved, scratch, total: output + saved + scratch },
    passes: 1,
  };
}

/** One level, or blocks first where the engine was measured to gain by it. Exact either way (design: two-level selection). */
export function chooseSelection(k: number | 'all', keys: number, limits: DeviceLimits): Selection {
  const two = limits.twoLevel;
  // With k blocks or fewer in the row, choosing blocks chooses nothing.
  if (k === 'all' || two === null || keys < two.minKeys || k * two.blockSize * 2 > keys) return { levels: 1 };
  return { levels: 2, blockSize: two.blockSize };
}

/**
 * Transient bytes of the composed path for one chunk: the worst of making the scores (two score matrices live at a
 * time, with validity flags or a bias beside them), selecting (scores, NaN flags, scores without NaN), and gathering
 * the value rows of the kept keys.
 */
export function composedAttentionScratch(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyHeads, keyLength, headDim, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  const scores = 4 * rows * keyLength;
  const query = 8 * rows * headDim;
  const result = 4 * rows * valueDim;
  const making = 2 * scores + Math.max(flagBytes(request, chunk), biasBytes(request, chunk));
  if (k === 'all') {
    const values = 4 * batch * keyHeads * keyLength * valueDim;
    const isMasked =
      request.causal || request.keyLengths || request.mask !== undefined || request.bias !== undefined;
    const dropout = request.dropout === undefined ? 0 : 2 * scores;
    return Math.max(query + making + dropout, scores + 2 * result) + (isMasked ? 2 * values : 0);
  }
  const lists = rows * k * (request.dropout === undefined ? 24 : 36);
  const gathering = lists + 4 * rows * k * valueDim;
  const selecting = Math.max(2.25 * scores, blockBytes(request, rows, k)) + lists;
  return query + Math.max(making, selecting, gathering) + 2 * result;
}

/** Two-level selection: scores, a copy padded to whole blocks, and the candidates with the keys they stand for. */
function blockBytes({ selection, keyLength }: AttentionRequest, rows: number, k: number): number {
  if (selection.levels === 1) return 0;
  const { blockSize } = selection;
  const blocks = Math.ceil(keyLength / blockSize);
  const padded = keyLength % blockSize === 0 ? 0 : blocks * blockSize;
  // The two last terms: what a row and a block need beside their numbers.
  return 4 * rows * (keyLength + padded + blocks + 4 * k * blockSize + 2) + 12 * blockSize;
}

/** Validity flags of one chunk, before they broadcast to every head. */
function flagBytes(request: AttentionRequest, chunk: number): number {
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
  // Looked up row by row, then transposed, while one score matrix waits; positions in i32.
  const relative = 4 * queryHeads * chunk * keyLength;
  const waiting = 4 * batch * queryHeads * chunk * keyLength;
  return Math.max(own, relative, 2 * relative + 12 * chunk * keyLength - waiting);
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

function largestChunk(
  request: AttentionRequest,
  limits: DeviceLimits,
  scratchBytes: (request: AttentionRequest, chunk: number) => number,
  fits: (chunk: number) => boolean,
): number {
  const most = Math.max(1, Math.min(limits.maxQueryChunk, request.queryLength));
  const least = Math.min(limits.minQueryChunk, most);
  let chunk = most;
  // Powers of two below the maximum: few distinct shapes, so that compiled graphs and kernels are reused.
  while (chunk > least && scratchBytes(request, chunk) > limits.targetScratchBytes)
    chunk = halve(chunk, least);
  while (chunk > 1 && !fits(chunk)) chunk = halve(chunk, 1);
  return chunk;
}

function halve(chunk: number, least: number): number {
  return Math.max(least, 2 ** Math.ceil(Math.log2(chunk) - 1));
}

function inputBytes(request: AttentionRequest): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const floats =
    batch * queryHeads * queryLength * headDim + batch * keyHeads * keyLength * (headDim + valueDim);
  return (
    floats * bytesPerElement(request.dtype) +
    (request.mask === undefined ? 0 : sizeOf(request.mask)) +
    (request.bias === undefined ? 0 : 4 * sizeOf(request.bias)) +
    (request.keyLengths ? 4 * batch : 0) +
    (request.relativeBias === undefined ? 0 : 4 * request.relativeBias.buckets * queryHeads)
  );
}

/** @internal */
export function doesNotFit(
  what: string,
  needed: number,
  budget: number,
  largest: number,
  limits: DeviceLimits,
  remedies: readonly string[],
): TopKError {
  const overBuffer = largest > limits.maxBufferBytes;
  return new TopKError('DOES_NOT_FIT', `${what}: the request does not fit`, {
    expected: overBuffer
      ? `no tensor above ${formatBytes(limits.maxBufferBytes)}`
      : `at most ${formatBytes(budget)} beyond the inputs`,
    got: overBuffer ? `one of ${formatBytes(largest)}` : formatBytes(needed),
    fix: `Use ${[...remedies, ...(overBuffer ? [] : ['a larger budgetBytes'])].join(', or ')}`,
  });
}
