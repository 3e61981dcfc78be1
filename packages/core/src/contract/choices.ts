import type { AttentionRequest } from './attention.js';
import type { FeedForwardRequest } from './feed-forward.js';
import type { DeviceLimits } from './limits.js';

/** How the k largest are found: in one pass over the row, or by first selecting blocks by their maxima (both exact). */
export type Selection = { readonly levels: 1 } | { readonly levels: 2; readonly blockSize: number };

/** An attention request with the composed path's choices for it on a device. */
export interface ChosenAttention extends AttentionRequest {
  readonly selection: Selection;
}

/** A feed-forward request with the composed path's choices for it on a device. */
export interface ChosenFeedForward extends FeedForwardRequest {
  readonly selection: Selection;
  /** Second product over the kept rows only, or over all hidden units with those not kept set to zero. */
  readonly second: 'gather' | 'dense';
}

/** The request, and how the composed path selects its keys. A fused operation may choose by the same rule. */
export function chooseAttention(request: AttentionRequest, limits: DeviceLimits): ChosenAttention {
  return { ...request, selection: chooseSelection(request.k, request.keyLength, limits) };
}

/** The request, and how the composed path selects and multiplies. A fused operation may choose by the same rules. */
export function chooseFeedForward(request: FeedForwardRequest, limits: DeviceLimits): ChosenFeedForward {
  const { k, hidden, outputDim } = request;
  return {
    ...request,
    selection: chooseSelection(k, hidden, limits),
    second: chooseSecondProduct(k, hidden, outputDim, limits),
  };
}

/** One level, or blocks first where measured faster on the engine. Both are exact (design: two-level selection). */
export function chooseSelection(k: number | 'all', keys: number, limits: DeviceLimits): Selection {
  const two = limits.twoLevel;
  // With k blocks or fewer in the row, selecting blocks drops nothing.
  if (k === 'all' || two === null || keys < two.minKeys || k * two.blockSize * 2 > keys) return { levels: 1 };
  return { levels: 2, blockSize: two.blockSize };
}

/**
 * Gather or dense second product, chosen by the cost of a gathered value element relative to a dense multiply-add
 * (measured per engine) and by the bytes of one token's gathered rows.
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

/** A selection in words, for `explain()`. */
export function describeSelection(selection: Selection): string {
  return selection.levels === 1 ? 'one level' : `two levels, blocks of ${selection.blockSize}`;
}
