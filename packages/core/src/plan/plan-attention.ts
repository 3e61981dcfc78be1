import type { DeviceLimits } from '../backend.js';
import { bytesPerElement } from '../dtype.js';
import { aNumber, type OptionKinds, readOptions } from '../read-options.js';
import {
  attentionInputBytes,
  composedAttentionLargest,
  composedAttentionScratch,
  sharedBytes,
} from './attention-bytes.js';
import { checkLimits } from './check-limits.js';
import { doesNotFit, largestChunk } from './fit.js';
import { aPath, type PathBytes } from './path-bytes.js';
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
  readonly queryChunk?: number | undefined;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
  /** The path that runs; default: the composed one. */
  readonly path?: PathBytes<AttentionRequest> | undefined;
}

const planKinds: OptionKinds<PlanOptions> = { queryChunk: aNumber, budgetBytes: aNumber, path: aPath };

/**
 * Chunk, selection and bytes of an attention call, from shapes and limits alone: no device is asked.
 *
 * @throws TopKError DOES_NOT_FIT, before anything is allocated, when a chunk of one query exceeds the budget or one
 * tensor exceeds the largest buffer.
 */
export function planAttention(
  request: AttentionRequest,
  limits: DeviceLimits,
  options?: PlanOptions,
): AttentionPlan {
  const given = readOptions('planAttention', options, planKinds);
  checkLimits('planAttention', 'queryChunk', given.queryChunk, given.budgetBytes);
  const { budgetBytes = Number.POSITIVE_INFINITY } = given;
  const path = given.path ?? composedPath(limits);
  const { batch, queryHeads, queryLength, valueDim } = request;
  const rows = batch * queryHeads * queryLength;
  const element = bytesPerElement(request.dtype);
  const output = rows * valueDim * element;
  const saved = request.saves && request.k !== 'all' ? rows * request.k * 8 : 0;
  const share = shareOf(request.saves, limits);
  const available = Math.min((budgetBytes - output - saved) / share, Number.MAX_SAFE_INTEGER);
  // Without writing in place the composed path joins its chunks at the end: one result exists twice.
  const isJoined = given.path === undefined && !limits.inPlace;
  const transient = (chunk: number): number => {
    const whole = Math.max(output, saved / 2) + sharedBytes(request) + 4 * request.keyLength;
    const joining = isJoined && chunk < queryLength ? whole : 0;
    return Math.max(path.scratchBytes(request, chunk), joining);
  };
  const keys = batch * request.keyHeads * request.keyLength * request.headDim * element;
  const largest = (chunk: number): number =>
    Math.max(output, saved / 2, keys, path.largestBytes?.(request, chunk) ?? 0);
  const fits = (chunk: number): boolean =>
    transient(chunk) <= available && largest(chunk) <= limits.maxBufferBytes;

  const chunk = Math.min(given.queryChunk ?? largestChunk(request, limits, path, fits), queryLength);
  const scratch = transient(chunk);
  if (!fits(chunk)) {
    throw doesNotFit('attention', output + saved + share * scratch, budgetBytes, largest(chunk), limits, [
      chunk > 1 ? 'a smaller queryChunk' : 'a smaller batch or fewer heads at a time',
      ...(saved > 0 ? ['a smaller k'] : []),
    ]);
  }
  const inputs = attentionInputBytes(request, limits.boolBytes);
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
 * The part of a budget that the forward pass may take, as its inverse: where its scratch is kept, a training call leaves
 * most of it to the backward pass, which needs several times as much for a chunk.
 */
export function shareOf(saves: boolean, limits: DeviceLimits): 1 | 4 {
  return saves && limits.keepsScratch === true ? 4 : 1;
}

function composedPath(limits: DeviceLimits): PathBytes<AttentionRequest> {
  return {
    scratchBytes: (request, chunk) => composedAttentionScratch(request, chunk, limits.boolBytes),
    largestBytes: composedAttentionLargest,
  };
}
