import {
  type AttentionOptions,
  type AttentionShapes,
  attentionKinds,
  attentionRequest,
  shapeKinds,
} from './attention/options.js';
import * as attention from './attention/plans.js';
import type { Backend } from './backend.js';
import {
  type FeedForwardOptions,
  type FeedForwardSizes,
  feedForwardKinds,
  feedForwardRequest,
  sizeKinds,
} from './feed-forward/options.js';
import * as feedForward from './feed-forward/plans.js';
import type { PathReport } from './fused.js';
import { formatBytes } from './plan/format.js';
import type { AttentionPlan, PlannedBytes } from './plan/plan-attention.js';
import type { AttentionBackwardPlan, FeedForwardBackwardPlan } from './plan/plan-backward.js';
import type { FeedForwardPlan } from './plan/plan-feed-forward.js';
import { aBoolean, aNumber, type OptionKinds, readOptions } from './read-options.js';

export interface Explanation<Plan, Backward = never> {
  readonly backend: string;
  /** The path that runs. */
  readonly path: PathReport['path'];
  /** Every path with the reasons why it does not run. */
  readonly paths: readonly PathReport[];
  readonly plan: Plan;
  /** The same of the backward pass; present with `training`. */
  readonly backward?: Pick<Explanation<Backward>, 'path' | 'paths' | 'plan'>;
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
 * Runs nothing. Leave `k` out for exact attention; `training` counts the lists that the backward pass keeps, and
 * explains that pass too.
 *
 * @throws TopKError as the call itself would.
 */
export function explain(
  backend: Backend,
  shapes: AttentionShapes,
  options?: ExplainOptions,
): Explanation<AttentionPlan, AttentionBackwardPlan> {
  const given = readOptions('explain', options, explainKinds);
  const name = given.k === undefined ? 'exactAttention' : 'topKAttention';
  const { q, k, v, dtype } = readOptions('explain: shapes', shapes, shapeKinds);
  const { training = false } = given;
  const request = {
    ...attentionRequest(name, { dtype: dtype ?? 'f32' }, given, { q, k, v }, given.k ?? 'all', backend),
    saves: training,
  };
  return explanation(
    name,
    backend,
    { ...attention.planForward(backend, request, given), print: printPlan },
    training ? { ...attention.planBackward(backend, request, given), print: printBackwardPlan } : undefined,
  );
}

/** The same for a feed-forward call. Training runs a fused version only where the backward pass has one too. */
export function explainFeedForward(
  backend: Backend,
  sizes: FeedForwardSizes,
  options: ExplainFeedForwardOptions,
): Explanation<FeedForwardPlan, FeedForwardBackwardPlan> {
  const given = readOptions('explainFeedForward', options, explainFeedForwardKinds);
  readOptions('explainFeedForward: sizes', sizes, sizeKinds);
  const { training = false } = given;
  const request = { ...feedForwardRequest(backend, sizes, given), saves: training };
  return explanation(
    'topKFeedForward',
    backend,
    { ...feedForward.planForward(backend, request, given), print: printFeedForwardPlan },
    training
      ? { ...feedForward.planBackward(backend, request, given), print: printFeedForwardBackwardPlan }
      : undefined,
  );
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

function printBackward(
  chunk: string,
  { chunks, bytes }: Pick<AttentionBackwardPlan, 'chunks' | 'bytes'>,
): string {
  const lines = [`${chunk} (${countOf(chunks, 'chunk')})`, ...describeBytes({ ...bytes, what: 'gradients' })];
  return lines.join('\n');
}

function printBackwardPlan(plan: AttentionBackwardPlan): string {
  return printBackward(`query chunk   ${plan.queryChunk}`, plan);
}

function printFeedForwardBackwardPlan(plan: FeedForwardBackwardPlan): string {
  return printBackward(`token chunk   ${plan.tokenChunk}`, plan);
}

interface Pass<Plan> {
  readonly reports: readonly PathReport[];
  readonly plan: Plan;
  print(plan: Plan): string;
}

function explanation<Plan, Backward>(
  name: string,
  backend: Backend,
  forward: Pass<Plan>,
  backward: Pass<Backward> | undefined,
): Explanation<Plan, Backward> {
  const lines = [
    describePass(`${name} on ${backend.name}`, forward),
    ...(backward === undefined ? [] : [describePass('backward pass', backward)]),
  ];
  return {
    backend: backend.name,
    ...chosenOf(forward),
    ...(backward && { backward: chosenOf(backward) }),
    toString: () => lines.join('\n'),
  };
}

function chosenOf<Plan>({ reports, plan }: Pass<Plan>): Pick<Explanation<Plan>, 'path' | 'paths' | 'plan'> {
  const chosen = reports.find(({ refusals }) => refusals.length === 0);
  return { path: chosen?.path ?? 'composed', paths: reports, plan };
}

function describePass<Plan>(title: string, pass: Pass<Plan>): string {
  const { path, paths } = chosenOf(pass);
  const named = paths.find((one) => one.path === path)?.variant;
  const variant = named === undefined ? '' : `variant       ${named}\n`;
  const refusals = paths.flatMap((one) =>
    one.refusals.map((reason) => `not ${one.path.padEnd(10)}${reason}\n`),
  );
  return `${title}: ${path}\n${refusals.join('')}${variant}${pass.print(pass.plan)}`;
}

function describeSelection({ selection }: Pick<AttentionPlan, 'selection'>): string {
  return selection.levels === 1 ? 'one level' : `two levels, blocks of ${selection.blockSize}`;
}

function describeBytes({ what = 'output', ...bytes }: PlannedBytes & { readonly what?: string }): string[] {
  return [
    `inputs        ${formatBytes(bytes.inputs)}`,
    `${what.padEnd(14)}${formatBytes(bytes.output)}`,
    `saved lists   ${formatBytes(bytes.saved)}`,
    `scratch       ${formatBytes(bytes.scratch)}`,
    `total         ${formatBytes(bytes.total)} beyond the inputs`,
  ];
}

function countOf(count: number, noun: string): string {
  return `${count} ${count === 1 ? noun : `${noun}s`}`;
}
