import type { AttentionRequest } from '../contract/attention.js';
import type { ChosenAttention } from '../contract/choices.js';
import { bytesPerElement } from '../contract/dtype.js';
import type { DeviceLimits } from '../contract/limits.js';
import { mayHideKeys } from '../contract/request-facts.js';
import { sizeOf } from '../contract/shape.js';
import type { PassBytes } from '../operation/define.js';
import { blockBytes } from '../selection/block-bytes.js';

/** What the forward pass takes and returns, whatever runs it. */
export function forwardBytes(request: AttentionRequest, limits: DeviceLimits): PassBytes {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const element = bytesPerElement(request.dtype);
  const rows = batch * queryHeads * queryLength;
  const output = rows * valueDim * element;
  const saved = listBytes(request);
  const keys = batch * keyHeads * keyLength * headDim * element;
  const inputs = attentionInputBytes(request, limits.boolBytes);
  return { inputs, output, saved, largest: Math.max(output, saved / 2, keys) };
}

/** The same for the backward pass, which also takes the output's gradient and returns those of the inputs. */
export function backwardBytes(request: AttentionRequest, limits: DeviceLimits): PassBytes {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const element = bytesPerElement(request.dtype);
  const rows = batch * queryHeads * queryLength;
  const keyRows = batch * keyHeads * keyLength;
  return {
    inputs: attentionInputBytes(request, limits.boolBytes) + rows * valueDim * element,
    output:
      (rows * headDim + keyRows * (headDim + valueDim)) * element +
      (request.bias === undefined ? 0 : 4 * sizeOf(request.bias)) +
      (request.relativeBias === undefined ? 0 : 4 * request.relativeBias.buckets * queryHeads),
    saved: listBytes(request),
  };
}

/** (index, score) lists. */
function listBytes({ batch, queryHeads, queryLength, k, saves }: AttentionRequest): number {
  return saves && k !== 'all' ? batch * queryHeads * queryLength * k * 8 : 0;
}

/** Without in-place writes, the composed path joins its chunks at the end, so one result exists twice. */
export function composedJoining(request: AttentionRequest, chunk: number, limits: DeviceLimits): number {
  if (limits.inPlace || chunk >= request.queryLength) return 0;
  const { output, saved } = forwardBytes(request, limits);
  return Math.max(output, saved / 2) + sharedBytes(request) + 4 * request.keyLength;
}

/** q, k, v, mask and biases. */
function attentionInputBytes(request: AttentionRequest, boolBytes = 1): number {
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
 * Transient bytes of the composed path for one chunk: the worst of computing the scores, selecting or normalising
 * them, and multiplying by the values; plus what all chunks share.
 */
export function composedAttentionScratch(request: ChosenAttention, chunk: number, boolBytes = 1): number {
  const { batch, queryHeads, keyHeads, keyLength, headDim, valueDim, k, dropout } = request;
  const rows = batch * queryHeads * chunk;
  const scores = 4 * rows * keyLength;
  const flags = boolBytes * rows * keyLength;
  const query = 8 * rows * headDim;
  const result = 4 * rows * valueDim;
  // Positions of the keys for the whole call and of the chunk's queries, if validity or a bias needs them.
  const positions = 4 * (keyLength + 2 * chunk);
  const making = Math.max(scores + query, makingBytes(request, chunk, boolBytes));
  const shared = sharedBytes(request);
  if (k === 'all') {
    // Weights, and validity flags if options hide keys; in addition the scores, the dropout factors, or what the
    // product needs.
    const own = scores + (mayHideKeys(request) ? flags : 0);
    const weighing = request.sigmoidShift === undefined ? scores : 2 * scores + flags;
    const dropping = dropout === undefined ? 0 : Math.max(scores + 4 * flags, 2 * scores + flags);
    const multiplying = mayHideKeys(request)
      ? Math.max(scores + flags + 2 * result, 5 * result)
      : Math.max(1.5 * query, 2 * result + 12 * rows);
    const keyRows = batch * keyHeads * keyLength;
    const sharing = mayHideKeys(request)
      ? shared + 3 * boolBytes * keyRows * valueDim
      : shared + (4 + 2 * boolBytes) * keyRows * headDim;
    return (
      positions +
      Math.max(sharing, shared + Math.max(making, own + Math.max(weighing, dropping, multiplying)))
    );
  }
  const lists = rows * k * (dropout === undefined ? 16 : 32);
  const settingAside = 2 * scores + flags + 8 * rows;
  const selecting = scores + 8 * rows * k + 4 * rows;
  const byBlocks = blockBytes(request.selection, keyLength, rows, k) + 8 * rows * k + 8 * rows;
  const multiplying = lists + 4 * rows * k * valueDim + result + 4 * rows;
  return positions + shared + Math.max(making, settingAside, selecting, byBlocks, multiplying);
}

/** What all chunks share: widened f16 inputs, and for exact attention values that are safe to multiply by zero. */
function sharedBytes(request: AttentionRequest): number {
  const { batch, keyHeads, keyLength, headDim, valueDim, dtype, k } = request;
  const widened = dtype === 'f16' ? headDim + valueDim : 0;
  const safe = k !== 'all' ? 0 : mayHideKeys(request) ? 3 * valueDim : valueDim;
  return 4 * batch * keyHeads * keyLength * (widened + safe);
}

/** The largest single tensor of one chunk: its scores, or the value rows gathered for it. */
export function composedAttentionLargest(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, valueDim, k } = request;
  return 4 * batch * queryHeads * chunk * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
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

/** Adding each bias and hiding invalid keys, one step at a time: old and new scores, and what each step needs. */
function makingBytes(request: AttentionRequest, chunk: number, boolBytes: number): number {
  const { batch, queryHeads, keyLength, bias, relativeBias } = request;
  const scores = 4 * batch * queryHeads * chunk * keyLength;
  const [b = 0, h = 0, q = 0, width = 0] = bias ?? [];
  const ofBias = q === 1 ? 0 : 4 * b * h * chunk * width;
  const ofRelative = relativeBias === undefined ? 0 : 4 * queryHeads * chunk * keyLength;
  // Looked up row by row and transposed, using i32 positions that take two steps to compute.
  const lookingUp = relativeBias === undefined ? 0 : ofRelative + Math.max(ofRelative, 8 * chunk * keyLength);
  const ofFlags = boolBytes * flagCount(request, chunk);
  return Math.max(2 * scores + Math.max(ofBias, ofRelative, ofFlags), scores + lookingUp);
}

/**
 * Transient bytes of the composed backward pass for one chunk, without dQ and the gradients it returns: the worst of
 * working on the chunk and adding its dK and dV to the running sums.
 */
function composedBackwardScratch(request: AttentionRequest, chunk: number, boolBytes = 1): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, k, dropout } = request;
  const rows = batch * queryHeads * chunk;
  const scores = 4 * rows * keyLength;
  const keys = 4 * batch * keyHeads * keyLength * headDim;
  const values = 4 * batch * keyHeads * keyLength * valueDim;
  const parts = keys + values;
  const running = chunk < queryLength ? parts : 0;
  const adding = running === 0 ? parts : 2 * parts + Math.max(keys, values);
  const results = 4 * rows * headDim;
  const widened = request.bias !== undefined && request.bias[3] !== 1 ? scores : 0;
  const inSingle = request.dtype === 'f16' ? parts : 0;
  if (k === 'all') {
    const flags = (boolBytes * scores) / 4;
    const outputs = 4 * rows * valueDim;
    const safe = keys + 8 * batch * keyHeads * keyLength;
    const isPartial = mayHideKeys(request);
    // Weights, their gradient, and three steps to the gradient of the scores; dropout factors.
    const steps = (dropout === undefined ? 5 : 7) * scores + flags;
    const making = makingBytes(request, chunk, boolBytes);
    const ofValues = isPartial
      ? 3 * outputs + Math.max(scores + flags + 2 * values, 4 * values + values / 2)
      : outputs + 2 * values;
    const multiplying = 2 * scores + flags + Math.max(2 * keys, keys + ofValues);
    const looking = request.relativeBias === undefined ? 0 : 5 * scores + parts;
    const moving = 2 * results + outputs + 12 * (keyLength + chunk);
    const summing = adding - running + scores;
    return inSingle + safe + running + moving + Math.max(steps, making, multiplying, looking, summing);
  }
  const lists = rows * k * (dropout === undefined ? 32 : 48);
  const gathering = 4 * rows * k * Math.max(headDim, valueDim);
  const own = lists + 2 * results + 4 * rows * valueDim;
  return (
    inSingle + running + Math.max(own + gathering + parts, own + widened + parts, own + adding - running)
  );
}

/** The same in addition to the returned gradients; the running sums of dK and dV are those gradients. */
export function composedBackwardTransient(
  request: AttentionRequest,
  chunk: number,
  { boolBytes, inPlace }: Pick<DeviceLimits, 'boolBytes' | 'inPlace'>,
): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const ofKeys = 4 * batch * keyHeads * keyLength * (headDim + valueDim);
  const ofQueries = 4 * batch * queryHeads * queryLength * headDim;
  const isChunked = chunk < queryLength;
  const returned = ofKeys + (isChunked ? 0 : ofQueries);
  const scratch = Math.max(composedBackwardScratch(request, chunk, boolBytes) - returned, 0);
  // Without in-place writes, the chunks of dQ and of a long bias's gradient are joined at the end.
  const ofBias = request.bias !== undefined && request.bias[2] !== 1 ? 4 * sizeOf(request.bias) : 0;
  return Math.max(scratch, isChunked && !inPlace ? Math.max(ofQueries, ofBias) : 0);
}

/** The largest single tensor of one backward chunk: scores, or rows that are gathered or scatter-added. */
export function composedBackwardLargest(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, headDim, valueDim, k } = request;
  return 4 * batch * queryHeads * chunk * (k === 'all' ? keyLength : k * Math.max(headDim, valueDim));
}
