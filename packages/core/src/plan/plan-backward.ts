import type { DeviceLimits } from '../backend.js';
import { bytesPerElement } from '../dtype.js';
import { aNumber, type OptionKinds, readOptions } from '../read-options.js';
import { sizeOf } from '../shape.js';
import {
  attentionInputBytes,
  composedBackwardLargest,
  composedBackwardTransient,
} from './attention-bytes.js';
import { checkLimits } from './check-limits.js';
import { composedFeedForwardBackwardScratch } from './feed-forward-bytes.js';
import { doesNotFit, largestChunk } from './fit.js';
import { aPath, type PathBytes } from './path-bytes.js';
import type { AttentionPlan, PlannedBytes } from './plan-attention.js';
import { chooseTokenChunk, type FeedForwardPlan } from './plan-feed-forward.js';
import type { AttentionRequest, FeedForwardRequest } from './request.js';

/** `bytes.inputs` has the output's gradient too, `bytes.output` is that of the gradients returned. */
export type AttentionBackwardPlan = Pick<AttentionPlan, 'queryChunk' | 'chunks' | 'bytes'>;
export type FeedForwardBackwardPlan = Pick<FeedForwardPlan, 'tokenChunk' | 'chunks' | 'bytes'>;

interface BackwardOptions<Request> {
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
  /** The path that runs; default: the composed one. */
  readonly path?: PathBytes<Request> | undefined;
  /** What the engine keeps of the forward pass meanwhile; counted as scratch. Default 0. */
  readonly heldBytes?: number;
}

export interface AttentionBackwardPlanOptions extends BackwardOptions<AttentionRequest> {
  /** The caller's own chunk, in queries. */
  readonly queryChunk?: number | undefined;
}

const attentionKinds: OptionKinds<AttentionBackwardPlanOptions> = {
  queryChunk: aNumber,
  budgetBytes: aNumber,
  heldBytes: aNumber,
  path: aPath,
};

export interface FeedForwardBackwardPlanOptions extends BackwardOptions<FeedForwardRequest> {
  /** The caller's own chunk, in tokens. */
  readonly tokenChunk?: number | undefined;
}

const feedForwardKinds: OptionKinds<FeedForwardBackwardPlanOptions> = {
  tokenChunk: aNumber,
  budgetBytes: aNumber,
  heldBytes: aNumber,
  path: aPath,
};

/** Chunk and bytes of the backward pass of an attention call, without a device. @throws TopKError DOES_NOT_FIT. */
export function planAttentionBackward(
  request: AttentionRequest,
  limits: DeviceLimits,
  options?: AttentionBackwardPlanOptions,
): AttentionBackwardPlan {
  const given = readOptions('planAttentionBackward', options, attentionKinds);
  checkLimits('planAttentionBackward', 'queryChunk', given.queryChunk, given.budgetBytes);
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, k } = request;
  const element = bytesPerElement(request.dtype);
  const rows = batch * queryHeads * queryLength;
  const keyRows = batch * keyHeads * keyLength;
  const path = given.path ?? {
    scratchBytes: (one, chunk) => composedBackwardTransient(one, chunk, limits),
    largestBytes: composedBackwardLargest,
  };
  const bytes = {
    inputs: attentionInputBytes(request, limits.boolBytes) + rows * valueDim * element,
    output:
      (rows * headDim + keyRows * (headDim + valueDim)) * element +
      (request.bias === undefined ? 0 : 4 * sizeOf(request.bias)) +
      (request.relativeBias === undefined ? 0 : 4 * request.relativeBias.buckets * queryHeads),
    saved: k === 'all' ? 0 : rows * k * 8,
  };
  const fit = fitting('attention.backward', request, path, bytes, limits, given);
  const wanted = given.queryChunk ?? largestChunk(request, limits, path, fit.fits);
  const queryChunk = Math.min(wanted, queryLength);
  return {
    queryChunk,
    chunks: Math.ceil(queryLength / queryChunk),
    bytes: fit.planned(queryChunk, [
      queryChunk > 1 ? 'a smaller queryChunk' : 'a smaller batch or fewer heads at a time',
      ...(k === 'all' ? [] : ['a smaller k']),
    ]),
  };
}

/** The same for a feed-forward call. @throws TopKError DOES_NOT_FIT. */
export function planFeedForwardBackward(
  request: FeedForwardRequest,
  limits: DeviceLimits,
  options?: FeedForwardBackwardPlanOptions,
): FeedForwardBackwardPlan {
  const given = readOptions('planFeedForwardBackward', options, feedForwardKinds);
  checkLimits('planFeedForwardBackward', 'tokenChunk', given.tokenChunk, given.budgetBytes);
  const { tokens, inputDim, hidden, outputDim, gated, biasIn, biasOut, k } = request;
  const element = bytesPerElement(request.dtype);
  const path = given.path ?? {
    scratchBytes: (one: FeedForwardRequest, chunk: number) =>
      composedFeedForwardBackwardScratch(one, chunk, limits.boolBytes),
    largestBytes: (_: FeedForwardRequest, chunk: number) => 4 * chunk * hidden,
  };
  const weights = hidden * (inputDim * (gated ? 2 : 1) + outputDim);
  const biases = (biasIn ? hidden : 0) + (biasOut ? outputDim : 0);
  const bytes = {
    inputs: (tokens * (inputDim + outputDim) + weights + biases) * element,
    output: (tokens * inputDim + weights + biases) * element,
    saved: k === 'all' ? 0 : tokens * k * 8,
  };
  const fit = fitting('feed-forward.backward', request, path, bytes, limits, given);
  const tokenChunk = chooseTokenChunk(request, limits, path, fit.fits, given.tokenChunk);
  return {
    tokenChunk,
    chunks: Math.ceil(tokens / tokenChunk),
    bytes: fit.planned(tokenChunk, [tokenChunk > 1 ? 'a smaller tokenChunk' : 'fewer tokens at a time']),
  };
}

/** Whether a chunk fits, and the bytes planned with it. */
function fitting<Request>(
  what: string,
  request: Request,
  path: PathBytes<Request>,
  bytes: Pick<PlannedBytes, 'inputs' | 'output' | 'saved'>,
  limits: DeviceLimits,
  { budgetBytes = Number.POSITIVE_INFINITY, heldBytes = 0 }: BackwardOptions<Request>,
): { fits(chunk: number): boolean; planned(chunk: number, remedies: readonly string[]): PlannedBytes } {
  const scratchOf = (chunk: number): number => heldBytes + path.scratchBytes(request, chunk);
  const totalOf = (chunk: number): number => bytes.output + bytes.saved + scratchOf(chunk);
  const largestOf = (chunk: number): number => path.largestBytes?.(request, chunk) ?? 0;
  const fits = (chunk: number): boolean =>
    totalOf(chunk) <= Math.min(budgetBytes, Number.MAX_SAFE_INTEGER) &&
    largestOf(chunk) <= limits.maxBufferBytes;
  return {
    fits,
    planned: (chunk, remedies) => {
      if (!fits(chunk)) {
        throw doesNotFit(what, totalOf(chunk), budgetBytes, largestOf(chunk), limits, remedies);
      }
      return { ...bytes, scratch: scratchOf(chunk), total: totalOf(chunk) };
    },
  };
}
