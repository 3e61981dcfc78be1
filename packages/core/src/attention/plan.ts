import type { AttentionRequest } from '../contract/attention.js';
import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import { checkLimits } from '../operation/check-limits.js';
import { printPassPlan } from '../operation/explain.js';
import { aPath, type Plan, type PlannedBytes, planPass, type Wishes } from '../operation/plan.js';
import { aNumber, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { attention } from './definition.js';

export interface AttentionPlan {
  readonly queryChunk: number;
  readonly chunks: number;
  readonly bytes: PlannedBytes;
}

/** `bytes.inputs` includes the output's gradient; `bytes.output` counts the returned gradients. */
export type AttentionBackwardPlan = AttentionPlan;

export interface PlanOptions {
  /** The caller's own chunk, in queries; the plan then only counts its bytes. */
  readonly queryChunk?: number | undefined;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
  /** The path that runs, as prepared by a fused operation. Default: the composed path. */
  readonly path?: PreparedBytes | undefined;
}

export interface AttentionBackwardPlanOptions extends PlanOptions {
  /** What the engine keeps from the forward pass meanwhile; counted as scratch. Default 0. */
  readonly heldBytes?: number;
}

const planKinds: OptionKinds<PlanOptions> = { queryChunk: aNumber, budgetBytes: aNumber, path: aPath };
const backwardKinds: OptionKinds<AttentionBackwardPlanOptions> = { ...planKinds, heldBytes: aNumber };

/**
 * Chunk and bytes of an attention call, from shapes and limits alone: needs no device.
 *
 * @throws TopKError DOES_NOT_FIT, before anything is allocated, when a chunk of one query exceeds the budget or one
 * tensor exceeds the largest buffer.
 */
export function planAttention(
  request: AttentionRequest,
  limits: DeviceLimits,
  options?: PlanOptions,
): AttentionPlan {
  const given = read('planAttention', options, planKinds);
  const path = given.path ?? attention.forward.composed(request, limits);
  return attentionPlan(planPass(attention, 'forward', request, path, limits, wishesOf(given)));
}

/** Chunk and bytes of the backward pass of an attention call, without a device. @throws TopKError DOES_NOT_FIT. */
export function planAttentionBackward(
  request: AttentionRequest,
  limits: DeviceLimits,
  options?: AttentionBackwardPlanOptions,
): AttentionBackwardPlan {
  const given = read('planAttentionBackward', options, backwardKinds);
  const asked = { ...request, saves: true };
  const path = given.path ?? attention.backward.composed(asked, limits);
  const plan = planPass(attention, 'backward', asked, path, limits, wishesOf(given), given.heldBytes);
  return attentionPlan(plan);
}

/** Checks the options of a planner. */
function read<O extends PlanOptions>(where: string, options: O | undefined, kinds: OptionKinds<O>): O {
  const given = readOptions(where, options, kinds);
  checkLimits(where, 'queryChunk', given.queryChunk, given.budgetBytes);
  return given;
}

/** A plan under attention's names. */
export function attentionPlan({ chunk, chunks, bytes }: Plan): AttentionPlan {
  return { queryChunk: chunk, chunks, bytes };
}

/** The options of a call that planning uses. */
export function wishesOf({
  queryChunk,
  budgetBytes,
}: Pick<PlanOptions, 'queryChunk' | 'budgetBytes'>): Wishes {
  return { chunk: queryChunk, budgetBytes };
}

/** An attention plan as text, one fact per line. */
export function printPlan({ queryChunk, chunks, bytes }: AttentionPlan): string {
  return printPassPlan('query chunk', { chunk: queryChunk, chunks, bytes });
}
