import type { Backend } from '../contract/backend.js';
import type { Facts } from '../contract/fused.js';
import type { Operation } from './define.js';
import { formatBytes } from './format.js';
import type { Plan, PlannedBytes, Wishes } from './plan.js';
import { prepareCall } from './prepare.js';

/** Why one path is not taken for a request; empty reasons: it is taken. */
export interface PathReport {
  /** 'fused' for the backend's own operation, 'composed' for core's version from primitives. */
  readonly path: 'fused' | 'composed';
  readonly refusals: readonly string[];
  /** How the path that runs describes itself: its variant, how it selects. */
  readonly facts?: Facts;
}

/** How one pass runs. */
export interface ExplainedPass<Plan> {
  /** The path that runs. */
  readonly path: PathReport['path'];
  /** Every path with the reasons why it does not run. */
  readonly paths: readonly PathReport[];
  readonly plan: Plan;
}

export interface Explanation<Plan, Backward = Plan> extends ExplainedPass<Plan> {
  readonly backend: string;
  /** The same for the backward pass; present with `training`. */
  readonly backward?: ExplainedPass<Backward>;
  /** The same as text, one fact per line. */
  toString(): string;
}

/** The call to explain, without its tensors. */
interface ExplainedCall<Request, Named> {
  /** Public name of the op. */
  readonly where: string;
  readonly request: Request;
  readonly wishes: Wishes;
  /** Whether the backward pass is explained too. */
  readonly training: boolean;
  /** The plan as users see it. */
  readonly named: (plan: Plan) => Named;
}

/** How an operation would run on a backend. Runs nothing. @throws TopKError DOES_NOT_FIT. */
export function explainOperation<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
  Named,
>(
  operation: Operation<Request, Inputs, Outputs, Gradients>,
  backend: Backend,
  { where, request, wishes, training, named }: ExplainedCall<NoInfer<Request>, Named>,
): Explanation<Named, Named> {
  const passes = prepareCall(operation, backend, request, wishes);
  const forward = passes.forward(training || request.saves === true);
  const backward = training && operation.backward ? passes.backward() : undefined;
  const unit = operation.chunks?.title;
  const ofForward = explained(forward, named);
  const ofBackward = backward && explained(backward, named);
  return {
    backend: backend.name,
    ...ofForward,
    ...(ofBackward && { backward: ofBackward }),
    toString: () =>
      [
        textOf(`${where} on ${backend.name}`, ofForward, forward.plan, unit, 'output'),
        ...(backward && ofBackward
          ? [textOf('backward pass', ofBackward, backward.plan, unit, 'gradients')]
          : []),
      ].join('\n'),
  };
}

interface Described {
  readonly path: 'fused' | 'composed';
  readonly refusals: readonly string[];
  readonly plan: Plan;
  readonly runner: { describe?(): Facts };
}

function explained<Named>(pass: Described, named: (plan: Plan) => Named): ExplainedPass<Named> {
  const { path, refusals, plan, runner } = pass;
  const facts = runner.describe?.() ?? {};
  const isFused = path === 'fused';
  return {
    path,
    paths: [
      { path: 'fused', refusals, ...(isFused && { facts }) },
      isFused
        ? { path: 'composed', refusals: ['the fused version takes the request'] }
        : { path: 'composed', refusals: [], facts },
    ],
    plan: named(plan),
  };
}

function textOf(
  title: string,
  { path, paths }: ExplainedPass<unknown>,
  plan: Plan,
  unit: string | undefined,
  what: string,
): string {
  const reasons = paths.flatMap((one) => one.refusals.map((reason) => line(`not ${one.path}`, reason)));
  const { variant, ...facts } = paths.find((one) => one.path === path)?.facts ?? {};
  return [
    `${title}: ${path}`,
    ...reasons,
    ...(variant === undefined ? [] : [line('variant', variant)]),
    ...(unit === undefined ? [] : [chunkLine(unit, plan)]),
    ...Object.entries(facts).map(([name, fact]) => line(name, fact)),
    ...describeBytes(plan.bytes, what),
  ].join('\n');
}

/** A plan as text, one fact per line. */
export function printPassPlan(unit: string, plan: Plan): string {
  return [chunkLine(unit, plan), ...describeBytes(plan.bytes, 'output')].join('\n');
}

function chunkLine(unit: string, { chunk, chunks }: Plan): string {
  return line(unit, `${chunk} (${chunks} ${chunks === 1 ? 'chunk' : 'chunks'})`);
}

function describeBytes(bytes: PlannedBytes, what: string): string[] {
  return [
    line('inputs', formatBytes(bytes.inputs)),
    line(what, formatBytes(bytes.output)),
    line('saved lists', formatBytes(bytes.saved)),
    line('scratch', formatBytes(bytes.scratch)),
    line('total', `${formatBytes(bytes.total)} beyond the inputs`),
  ];
}

function line(name: string, fact: string): string {
  return `${name.padEnd(14)}${fact}`;
}
