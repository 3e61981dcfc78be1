import type { DeviceLimits } from '../backend.js';
import { bytesPerElement } from '../dtype.js';
import { aBoolean, aNumber, aValue, type OptionKinds, readOptions } from '../read-options.js';
import { blockBytes } from './attention-bytes.js';
import { checkLimits } from './check-limits.js';
import { doesNotFit, hasScratchBytes, type PathBytes, type PlannedBytes } from './plan-attention.js';
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
  path: aValue('an object with scratchBytes', hasScratchBytes),
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
  const available = Math.min(budgetBytes - output - saved, Number.MAX_SAFE_INTEGER);
  const largest = (chunk: number): number => Math.max(output, path.largestBytes?.(request, chunk) ?? 0);
  // The composed path joins its chunks at the end: one result exists twice.
  const joining = given.path === undefined ? Math.max(output, saved / 2) : 0;
  const transient = (chunk: number): number =>
    Math.max(path.scratchBytes(request, chunk), chunk < tokens ? joining : 0);
  const fits = (chunk: number): boolean =>
    transient(chunk) <= available && largest(chunk) <= limits.maxBufferBytes;
  let tokenChunk = Math.min(given.tokenChunk ?? tokens, Math.max(tokens, 1));
  if (given.tokenChunk === undefined) {
    while (
      tokenChunk > 1 &&
      (path.scratchBytes(request, tokenChunk) > limits.targetScratchBytes * 4 || !fits(tokenChunk))
    ) {
      tokenChunk = 2 ** Math.ceil(Math.log2(tokenChunk) - 1);
    }
  }
  const scratch = transient(tokenChunk);
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

function composedPath(limits: DeviceLimits): PathBytes<FeedForwardRequest> {
  return {
    scratchBytes: (request, chunk) => composedFeedForwardScratch(request, chunk, limits.boolBytes),
    largestBytes: ({ hidden, outputDim, k, second }, chunk) =>
      4 * chunk * Math.max(hidden, k === 'all' || second === 'dense' ? 0 : k * outputDim),
  };
}

/** Wide tensors that an activation holds beside its input, at its worst moment. */
const activationTensors: Readonly<Record<FeedForwardRequest['activation'], number>> = {
  relu: 1.25,
  gelu: 3,
  gelu_tanh: 3,
  silu: 2,
};

/**
 * Transient bytes of the composed feed-forward for one chunk of tokens: the worst of making the activations (tokens by
 * hidden units), ranking and selecting units, and the second product; beside what all chunks share.
 */
function composedFeedForwardScratch(request: FeedForwardRequest, chunk: number, boolBytes = 1): number {
  const { hidden, inputDim, outputDim, k, gated, second, activation, select, biasIn, biasOut } = request;
  const wide = 4 * chunk * hidden;
  const flags = boolBytes * chunk * hidden;
  const x = 4 * chunk * inputDim;
  const result = 4 * chunk * outputDim;
  const making = wide * Math.max(biasIn ? 2 : 1, 1 + activationTensors[activation], gated ? 4 : 2);
  if (k === 'all') return x + Math.max(making, wide + result * (biasOut ? 2 : 1));
  const lists = 8 * chunk * k;
  const isRanked = select === 'contribution';
  const ranking = 2 * wide + (isRanked ? 2 * wide : 0);
  const setAside = 2 * wide + (isRanked ? wide : 0) + flags + wide;
  const selecting = 3 * wide + blockBytes(request.selection, hidden, chunk, k) + 2 * lists;
  const weights = hidden * outputDim;
  const shared = (isRanked ? 4 * hidden : 0) + (second === 'dense' ? 4 * weights + 4 * hidden : 0);
  const multiplying =
    second === 'gather'
      ? wide + 4 * chunk * k * outputDim + 2 * lists
      : wide + Math.max(wide + 4 * flags, flags + wide) + 2 * lists;
  const ofChunk = x + Math.max(making, ranking, setAside, selecting, multiplying) + lists + 3 * result;
  const sharing = second === 'dense' ? weights * (8 + 2 * boolBytes) : isRanked ? 4 * weights : 0;
  return Math.max(shared + ofChunk, sharing);
}
