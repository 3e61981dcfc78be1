import type { FeedForwardRequest } from '../contract/feed-forward.js';
import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import { checkLimits } from '../operation/check-limits.js';
import { printPassPlan } from '../operation/explain.js';
import { aPath, type Plan, type PlannedBytes, planPass, type Wishes } from '../operation/plan.js';
import { aBoolean, aNumber, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { feedForward } from './definition.js';

export interface FeedForwardPlan {
  readonly tokenChunk: number;
  readonly chunks: number;
  readonly bytes: PlannedBytes;
}

/** `bytes.inputs` includes the output's gradient; `bytes.output` counts the returned gradients. */
export type FeedForwardBackwardPlan = FeedForwardPlan;

interface PlanOptions {
  /** The caller's own chunk, in tokens. */
  readonly tokenChunk?: number | undefined;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
  /** The path that runs, as prepared by a fused operation. Default: the composed path. */
  readonly path?: PreparedBytes | undefined;
}

export interface FeedForwardPlanOptions extends PlanOptions {
  /** True when the kept units are saved for the backward pass. Default: `request.saves`. */
  readonly saves?: boolean;
}

export interface FeedForwardBackwardPlanOptions extends PlanOptions {
  /** What the engine keeps from the forward pass meanwhile; counted as scratch. Default 0. */
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
  const given = read('planFeedForward', options, forwardKinds);
  const { saves = request.saves === true } = given;
  const asked = { ...request, saves };
  const path = given.path ?? feedForward.forward.composed(asked, limits);
  return feedForwardPlan(planPass(feedForward, 'forward', asked, path, limits, wishesOf(given)));
}

/** Chunk and bytes of the backward pass of a feed-forward call. @throws TopKError DOES_NOT_FIT. */
export function planFeedForwardBackward(
  request: FeedForwardRequest,
  limits: DeviceLimits,
  options?: FeedForwardBackwardPlanOptions,
): FeedForwardBackwardPlan {
  const given = read('planFeedForwardBackward', options, backwardKinds);
  const asked = { ...request, saves: true };
  const path = given.path ?? feedForward.backward.composed(asked, limits);
  const plan = planPass(feedForward, 'backward', asked, path, limits, wishesOf(given), given.heldBytes);
  return feedForwardPlan(plan);
}

/** Checks the options of a planner. */
function read<O extends PlanOptions>(where: string, options: O | undefined, kinds: OptionKinds<O>): O {
  const given = readOptions(where, options, kinds);
  checkLimits(where, 'tokenChunk', given.tokenChunk, given.budgetBytes);
  return given;
}

/** A plan under feed-forward's names. */
export function feedForwardPlan({ chunk, chunks, bytes }: Plan): FeedForwardPlan {
  return { tokenChunk: chunk, chunks, bytes };
}

/** The options of a call that planning uses. */
export function wishesOf({
  tokenChunk,
  budgetBytes,
}: Pick<PlanOptions, 'tokenChunk' | 'budgetBytes'>): Wishes {
  return { chunk: tokenChunk, budgetBytes };
}

/** A feed-forward plan as text, one fact per line. */
export function printFeedForwardPlan({ tokenChunk, chunks, bytes }: FeedForwardPlan): string {
  return printPassPlan('token chunk', { chunk: tokenChunk, chunks, bytes });
}
