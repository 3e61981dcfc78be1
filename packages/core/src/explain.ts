import { type AttentionOptions, type AttentionShapes, attentionRequest } from './attention/options.js';
import type { Backend } from './backend.js';
import { choosePath, type PathReport } from './fused.js';
import { formatBytes } from './plan/format.js';
import { type AttentionPlan, planAttention } from './plan/plan-attention.js';

export interface Explanation {
  readonly backend: string;
  /** The path that runs. */
  readonly path: 'fused' | 'composed';
  /** Every path with the reasons why it does not run. */
  readonly paths: readonly PathReport[];
  readonly plan: AttentionPlan;
  /** The same as text, one fact a line. */
  toString(): string;
}

/**
 * Which path an attention call of these shapes takes on a backend, why others do not run, and the plan with its bytes.
 * Runs nothing. Leave `k` out for exact attention.
 *
 * @throws TopKError as the call itself would.
 */
export function explain(
  backend: Backend,
  shapes: AttentionShapes,
  options: AttentionOptions & { readonly k?: number; readonly training?: boolean },
): Explanation {
  const where = options.k === undefined ? 'exactAttention' : 'topKAttention';
  const request = {
    ...attentionRequest(where, { dtype: 'f32' }, options, shapes, options.k, backend),
    saves: options.training === true,
  };
  const { fused, reports } = choosePath(backend, backend.fused?.attention, request);
  const plan = planAttention(request, backend.capabilities.limits, {
    ...options,
    ...(fused && { scratchBytes: (r, chunk) => fused.scratchBytes(r, chunk) }),
  });
  const path = fused === undefined ? 'composed' : 'fused';
  return {
    backend: backend.name,
    path,
    paths: reports,
    plan,
    toString: () => `${where} on ${backend.name}: ${path}\n${describeRefusals(reports)}${printPlan(plan)}`,
  };
}

/** A plan as text, one fact a line. */
export function printPlan(plan: AttentionPlan): string {
  const { bytes, selection } = plan;
  return [
    `query chunk   ${plan.queryChunk} (${plan.chunks} ${plan.chunks === 1 ? 'chunk' : 'chunks'})`,
    `selection     ${selection.levels === 1 ? 'one level' : `two levels, blocks of ${selection.blockSize}`}`,
    `inputs        ${formatBytes(bytes.inputs)}`,
    `output        ${formatBytes(bytes.output)}`,
    `saved lists   ${formatBytes(bytes.saved)}`,
    `scratch       ${formatBytes(bytes.scratch)}`,
    `total         ${formatBytes(bytes.total)} beyond the inputs`,
  ].join('\n');
}

function describeRefusals(reports: readonly PathReport[]): string {
  return reports
    .flatMap(({ path, refusals }) => refusals.map((reason) => `not ${path.padEnd(10)}${reason}\n`))
    .join('');
}
