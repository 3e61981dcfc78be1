import {
  type AttentionOptions,
  type AttentionShapes,
  attentionKinds,
  attentionRequest,
  shapeKinds,
} from './attention/options.js';
import type { Backend } from './backend.js';
import { fusedForward } from './feed-forward/fused-forward.js';
import {
  type FeedForwardOptions,
  type FeedForwardSizes,
  feedForwardKinds,
  feedForwardRequest,
  sizeKinds,
} from './feed-forward/options.js';
import { choosePath, type PathReport } from './fused.js';
import { formatBytes } from './plan/format.js';
import { type AttentionPlan, type PlannedBytes, planAttention } from './plan/plan-attention.js';
import { type FeedForwardPlan, planFeedForward } from './plan/plan-feed-forward.js';
import { aBoolean, aNumber, type OptionKinds, readOptions } from './read-options.js';

export interface Explanation<Plan> {
  readonly backend: string;
  /** The path that runs. */
  readonly path: PathReport['path'];
  /** Every path with the reasons why it does not run. */
  readonly paths: readonly PathReport[];
  readonly plan: Plan;
  /** The same as text, one fact a line. */
  toString(): string;
}

/** Options of `explain`: those of the call. */
export interface ExplainOptions extends AttentionOptions {
  /** Keys kept per query. Default: all of them, exact attention. */
  readonly k?: number;
  /** Whether the lists that the backward pass needs are kept. Default false. */
  readonly training?: boolean;
}

/** Options of `explainFeedForward`: those of the call. */
export interface ExplainFeedForwardOptions extends FeedForwardOptions {
  /** Whether gradients are wanted. Default false. */
  readonly training?: boolean;
}

const explainKinds: OptionKinds<ExplainOptions> = { k: aNumber, training: aBoolean, ...attentionKinds };
const explainFeedForwardKinds: OptionKinds<ExplainFeedForwardOptions> = {
  training: aBoolean,
  ...feedForwardKinds,
};

/**
 * Which path an attention call of these shapes takes on a backend, why others do not run, and the plan with its bytes.
 * Runs nothing. Leave `k` out for exact attention; `training` counts the lists that the backward pass keeps.
 *
 * @throws TopKError as the call itself would.
 */
export function explain(
  backend: Backend,
  shapes: AttentionShapes,
  options?: ExplainOptions,
): Explanation<AttentionPlan> {
  const given = readOptions('explain', options, explainKinds);
  const name = given.k === undefined ? 'exactAttention' : 'topKAttention';
  const { q, k, v } = readOptions('explain: shapes', shapes, shapeKinds);
  const request = {
    ...attentionRequest(name, { dtype: 'f32' }, given, { q, k, v }, given.k ?? 'all', backend),
    saves: given.training === true,
  };
  const { fused, reports } = choosePath(backend, backend.fused?.attention, request);
  const plan = planAttention(request, backend.capabilities.limits, {
    queryChunk: given.queryChunk,
    budgetBytes: given.budgetBytes,
    path: fused,
  });
  return explanation(name, backend, reports, plan, printPlan(plan));
}

/** The same for a feed-forward call. Training runs a fused version only where the backward pass has one too. */
export function explainFeedForward(
  backend: Backend,
  sizes: FeedForwardSizes,
  options: ExplainFeedForwardOptions,
): Explanation<FeedForwardPlan> {
  const given = readOptions('explainFeedForward', options, explainFeedForwardKinds);
  readOptions('explainFeedForward: sizes', sizes, sizeKinds);
  const saves = given.training === true;
  const request = { ...feedForwardRequest(backend, sizes, given), saves };
  const { fused, reports } = choosePath(backend, fusedForward(backend, request), request);
  const plan = planFeedForward(request, backend.capabilities.limits, {
    tokenChunk: given.tokenChunk,
    budgetBytes: given.budgetBytes,
    saves,
    path: fused,
  });
  return explanation('topKFeedForward', backend, reports, plan, printFeedForwardPlan(plan));
}

/** An attention plan as text, one fact a line. */
export function printPlan(plan: AttentionPlan): string {
  return [
    `query chunk   ${plan.queryChunk} (${countOf(plan.chunks, 'chunk')})`,
    `selection     ${describeSelection(plan)}`,
    ...describeBytes(plan.bytes),
  ].join('\n');
}

/** A feed-forward plan as text, one fact a line. */
export function printFeedForwardPlan(plan: FeedForwardPlan): string {
  return [
    `token chunk   ${plan.tokenChunk} (${countOf(plan.chunks, 'chunk')})`,
    `selection     ${describeSelection(plan)}`,
    `second        ${plan.second} product`,
    ...describeBytes(plan.bytes),
  ].join('\n');
}

function explanation<Plan>(
  name: string,
  backend: Backend,
  paths: readonly PathReport[],
  plan: Plan,
  printed: string,
): Explanation<Plan> {
  const chosen = paths.find(({ refusals }) => refusals.length === 0);
  const path = chosen?.path ?? 'composed';
  const variant = chosen?.variant === undefined ? '' : `variant       ${chosen.variant}\n`;
  const refusals = paths.flatMap((one) =>
    one.refusals.map((reason) => `not ${one.path.padEnd(10)}${reason}\n`),
  );
  return {
    backend: backend.name,
    path,
    paths,
    plan,
    toString: () => `${name} on ${backend.name}: ${path}\n${refusals.join('')}${variant}${printed}`,
  };
}

function describeSelection({ selection }: Pick<AttentionPlan, 'selection'>): string {
  return selection.levels === 1 ? 'one level' : `two levels, blocks of ${selection.blockSize}`;
}

function describeBytes(bytes: PlannedBytes): string[] {
  return [
    `inputs        ${formatBytes(bytes.inputs)}`,
    `output        ${formatBytes(bytes.output)}`,
    `saved lists   ${formatBytes(bytes.saved)}`,
    `scratch       ${formatBytes(bytes.scratch)}`,
    `total         ${formatBytes(bytes.total)} beyond the inputs`,
  ];
}

function countOf(count: number, noun: string): string {
  return `${count} ${count === 1 ? noun : `${noun}s`}`;
}
