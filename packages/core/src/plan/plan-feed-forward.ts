import type { DeviceLimits } from '../backend.js';
import { bytesPerElement } from '../dtype.js';
import { aBoolean, aNumber, type OptionKinds, readOptions } from '../read-options.js';
import { checkLimits } from './check-limits.js';
import { composedFeedForwardScratch } from './feed-forward-bytes.js';
import { doesNotFit } from './fit.js';
import { aPath, type PathBytes } from './path-bytes.js';
import { type PlannedBytes, shareOf } from './plan-attention.js';
import type { FeedForwardRequest, Selection } from './request.js';

export interface FeedForwardPlan {
  readonly tokenChunk: number;
  readonly chunks: number;
  /** Second product over the kept rows only, or over all hidden units with the others at zero. */
  readonly second: 'gather' | 'dense';
  readonly selection: Selection;
  readonly bytes: PlannedBytes;
}

export interface FeedForwardPlanOptions {
  /** The caller's own chunk, in tokens. */
  readonly tokenChunk?: number | undefined;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
  /** True when the (index, score) lists are kept for the backward pass. */
  readonly saves?: boolean;
  /** The path that runs; default: the composed one. */
  readonly path?: PathBytes<FeedForwardRequest> | undefined;
}

const planKinds: OptionKinds<FeedForwardPlanOptions> = {
  tokenChunk: aNumber,
  budgetBytes: aNumber,
  saves: aBoolean,
  path: aPath,
};

/** Chunk, second product and bytes of a feed-forward call, without a device. @throws TopKError DOES_NOT_FIT. */
export function planFeedForward(
  request: FeedForwardRequest,
  limits: DeviceLimits,
  options?: FeedForwardPlanOptions,
): FeedForwardPlan {
  const given = readOptions('planFeedForward', options, planKinds);
  checkLimits('planFeedForward', 'tokenChunk', given.tokenChunk, given.budgetBytes);
  const { budgetBytes = Number.POSITIVE_INFINITY } = given;
  const path = given.path ?? composedPath(limits);
  const { tokens, inputDim, hidden, outputDim, k } = request;
  const element = bytesPerElement(request.dtype);
  const output = tokens * outputDim * element;
  const saved = given.saves === true && k !== 'all' ? tokens * k * 8 : 0;
  const share = shareOf(given.saves === true, limits);
  const available = Math.min((budgetBytes - output - saved) / share, Number.MAX_SAFE_INTEGER);
  const largest = (chunk: number): number => Math.max(output, path.largestBytes?.(request, chunk) ?? 0);
  // The composed path joins its chunks at the end: one result exists twice.
  const joining = given.path === undefined ? Math.max(output, saved / 2) : 0;
  const transient = (chunk: number): number =>
    Math.max(path.scratchBytes(request, chunk), chunk < tokens ? joining : 0);
  const fits = (chunk: number): boolean =>
    transient(chunk) <= available && largest(chunk) <= limits.maxBufferBytes;
  const tokenChunk = chooseTokenChunk(request, limits, path, fits, given.tokenChunk);
  const scratch = transient(tokenChunk);
  if (!fits(tokenChunk)) {
    throw doesNotFit(
      'feed-forward',
      output + saved + share * scratch,
      budgetBytes,
      largest(tokenChunk),
      limits,
      ['fewer tokens at a time'],
    );
  }
  const weights = hidden * (inputDim * (request.gated ? 2 : 1) + outputDim);
  return {
    tokenChunk,
    chunks: Math.ceil(tokens / tokenChunk),
    second: request.second,
    selection: request.selection,
    bytes: {
      inputs: (tokens * inputDim + weights) * element,
      output,
      saved,
      scratch,
      total: output + saved + scratch,
    },
  };
}

/** The caller's chunk of tokens, or the largest that fits and keeps its scratch near what the limits aim at. */
export function chooseTokenChunk(
  request: FeedForwardRequest,
  limits: DeviceLimits,
  path: PathBytes<FeedForwardRequest>,
  fits: (chunk: number) => boolean,
  wanted: number | undefined,
): number {
  const { tokens } = request;
  let chunk = Math.min(wanted ?? tokens, Math.max(tokens, 1));
  if (wanted !== undefined) return chunk;
  const isLarge = (): boolean => path.scratchBytes(request, chunk) > limits.targetScratchBytes * 4;
  while (chunk > 1 && (isLarge() || !fits(chunk))) chunk = 2 ** Math.ceil(Math.log2(chunk) - 1);
  return chunk;
}

/**
 * Gather or dense second product, by the cost of a gathered value element against a dense multiply-add (measured per
 * engine) and by the bytes of the gathered rows of one token.
 */
export function chooseSecondProduct(
  k: number | 'all',
  hidden: number,
  outputDim: number,
  limits: DeviceLimits,
): 'gather' | 'dense' {
  if (k === 'all') return 'dense';
  const gatheredBytes = k * outputDim * 4;
  return k * limits.gatherCost < hidden && gatheredBytes <= limits.targetScratchBytes ? 'gather' : 'dense';
}

function composedPath(limits: DeviceLimits): PathBytes<FeedForwardRequest> {
  return {
    scratchBytes: (request, chunk) => composedFeedForwardScratch(request, chunk, limits.boolBytes),
    largestBytes: ({ hidden, outputDim, k, second }, chunk) =>
      4 * chunk * Math.max(hidden, k === 'all' || second === 'dense' ? 0 : k * outputDim),
  };
}
