import type { FeedForwardRequest } from '../contract/feed-forward.js';
import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import { checkLimits } from '../operation/check-limits.js';
import { printPassPlan } from '../operation/explain.js';
import { aPath, type Plan, type PlannedBytes, planPass, shareOf, type Wishes } from '../operation/plan.js';
import { aBoolean, aNumber, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { feedForward } from './definition.js';

export interface FeedForwardPlan {
  readonly tokenChunk: number;
  readonly chunks: number;
  readonly bytes: PlannedBytes;
}

/** `bytes.inputs` has the output's gradient too, `bytes.output` is that of the gradients returned. */
export type FeedForwardBackwardPlan = FeedForwardPlan;

interface PlanOptions {
  /** The caller's own chunk, in tokens. */
  readonly tokenChunk?: number | undefined;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
  /** The path that runs, as a fused operation prepares it; default: the composed one. */
  readonly path?: PreparedBytes | undefined;
}

export interface FeedForwardPlanOptions extends PlanOptions {
  /** True when the kept units are saved for the backward pass. Default: `request.saves`. */
  readonly saves?: boolean;
}

export interface FeedForwardBackwardPlanOptions extends PlanOptions {
  /** What the engine keeps of the forward pass meanwhile; counted as scratch. Default 0. */
  readonly heldBytes?: number;
}

const planKinds: OptionKinds<PlanOptions> = { tokenChunk: aNumber, budgetBytes: aNumber, path: aPath };
const forwardKinds: OptionKinds<FeedForwardPlanOptions> = { ...planKinds, saves: aBoolean };
const backwardKinds: OptionKinds<FeedForwardBackwardPlanOptions> = { ...planKinds, heldBytes: aNumber };

/** Chunk and bytes of a feed-forward call, without a device. @throws TopKError DOES_NOT_FIT. */
export function planFeedForward(
  request: FeedForwardRequest,
  limits: DeviceLimits,
  options?: FeedForwardPlanOptions,
): FeedForwardPlan {
  const given = readOptions('planFeedForward', options, forwardKinds);
  checkLimits('planFeedForward', 'tokenChunk', given.tokenChunk, given.budgetBytes);
  const { saves = request.saves === true } = given;
  const asked = { ...request, saves };
  const { title, chunks, forward } = feedForward;
  const path = given.path ?? forward.composed(asked, limits);
  const pass = { title, request: asked, chunks, bytes: forward.bytes(asked, limits), path };
  return feedForwardPlan(planPass({ ...pass, share: shareOf(saves, limits) }, limits, wishesOf(given)));
}

/** Chunk and bytes of the backward pass of a feed-forward call. @throws TopKError DOES_NOT_FIT. */
export function planFeedForwardBackward(
  request: FeedForwardRequest,
  limits: DeviceLimits,
  options?: FeedForwardBackwardPlanOptions,
): FeedForwardBackwardPlan {
  const given = readOptions('planFeedForwardBackward', options, backwardKinds);
  checkLimits('planFeedForwardBackward', 'tokenChunk', given.tokenChunk, given.budgetBytes);
  const asked = { ...request, saves: true };
  const { title, chunks, backward } = feedForward;
  const path = given.path ?? backward.composed(asked, limits);
  const pass = {
    title: `${title}.backward`,
    request: asked,
    chunks,
    bytes: backward.bytes(asked, limits),
    path,
  };
  return feedForwardPlan(planPass({ ...pass, heldBytes: given.heldBytes ?? 0 }, limits, wishesOf(given)));
}

/** A plan by the names of feed-forward. */
export function feedForwardPlan({ chunk, chunks, bytes }: Plan): FeedForwardPlan {
  return { tokenChunk: chunk, chunks, bytes };
}

/** Of all options of a call, what planning takes. */
export function wishesOf({
  tokenChunk,
  budgetBytes,
}: Pick<PlanOptions, 'tokenChunk' | 'budgetBytes'>): Wishes {
  return { chunk: tokenChunk, budgetBytes };
}

/** A feed-forward plan as text, one fact a line. */
export function printFeedForwardPlan({ tokenChunk, chunks, bytes }: FeedForwardPlan): string {
  return printPassPlan('token chunk', { chunk: tokenChunk, chunks, bytes });
}
