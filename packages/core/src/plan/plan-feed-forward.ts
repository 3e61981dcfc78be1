import type { DeviceLimits } from '../backend.js';
import { bytesPerElement } from '../dtype.js';
import { doesNotFit, type PathBytes, type PlannedBytes } from './plan-attention.js';
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
  readonly tokenChunk?: number;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number;
  /** True when the (index, score) lists are kept for the backward pass. */
  readonly saves?: boolean;
  /** The path that runs; default: the composed one. */
  readonly path?: PathBytes<FeedForwardRequest>;
}

/** Chunk, second product and bytes of a feed-forward call, without a device. @throws TopKError DOES_NOT_FIT. */
export function planFeedForward(
  request: FeedForwardRequest,
  limits: DeviceLimits,
  options: FeedForwardPlanOptions = {},
): FeedForwardPlan {
  const { budgetBytes = Number.POSITIVE_INFINITY, path = composedPath } = options;
  const { tokens, inputDim, hidden, outputDim, k } = request;
  const element = bytesPerElement(request.dtype);
  const output = tokens * outputDim * element;
  const saved = options.saves === true && k !== 'all' ? tokens * k * 8 : 0;
  const available = Math.min(budgetBytes - output - saved, Number.MAX_SAFE_INTEGER);
  const largest = (chunk: number): number => Math.max(output, path.largestBytes?.(request, chunk) ?? 0);
  const fits = (chunk: number): boolean =>
    path.scratchBytes(request, chunk) <= available && largest(chunk) <= limits.maxBufferBytes;
  let tokenChunk = Math.min(options.tokenChunk ?? tokens, Math.max(tokens, 1));
  if (options.tokenChunk === undefined) {
    while (
      tokenChunk > 1 &&
      (path.scratchBytes(request, tokenChunk) > limits.targetScratchBytes * 4 || !fits(tokenChunk))
    ) {
      tokenChunk = 2 ** Math.ceil(Math.log2(tokenChunk) - 1);
    }
  }
  const scratch = path.scratchBytes(request, tokenChunk);
  if (!fits(tokenChunk)) {
    throw doesNotFit('feed-forward', output + saved + scratch, budgetBytes, largest(tokenChunk), limits, [
      'fewer tokens at a time',
    ]);
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

const composedPath: PathBytes<FeedForwardRequest> = {
  scratchBytes: composedFeedForwardScratch,
  largestBytes: ({ hidden, outputDim, k, second }, chunk) =>
    4 * chunk * Math.max(hidden, k === 'all' || second === 'dense' ? 0 : k * outputDim),
};

/** Transient bytes of the composed feed-forward for one chunk of tokens. */
function composedFeedForwardScratch(request: FeedForwardRequest, chunk: number): number {
  const { hidden, outputDim, k, gated, second } = request;
  const wide = chunk * hidden * 4;
  const result = 2 * chunk * outputDim * 4;
  if (k === 'all') return wide * (gated ? 4 : 3) + result;
  const gathered = second === 'gather' ? chunk * k * (outputDim + 4) * 4 : wide + hidden * outputDim * 9;
  return wide * (gated ? 6 : 5) + chunk * k * 8 + gathered + result;
}
