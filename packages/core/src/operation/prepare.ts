import type { Backend, BackendTensor } from '../contract/backend.js';
import { TopKError } from '../contract/errors.js';
import type { Facts, FusedOperation, OutputSpecs, PathBytes, Prepared, Refused } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import { apply, type OutputSpec } from '../tensor/apply.js';
import type { Tensor } from '../tensor/tensor.js';
import type { BackwardRoles, Operation, PassDefinition } from './define.js';
import { type PathNeeds, type Plan, planPass, type Wishes } from './plan.js';
import { mapRoles, type Roles, valuesOf } from './roles.js';

/** A pass of a call, ready to run: its path, why the other path does not run, and its plan. */
interface PreparedPass<Inputs extends object, Outputs extends object> {
  readonly path: 'fused' | 'composed';
  /** Why no fused version runs; empty if one does. */
  readonly refusals: readonly string[];
  readonly plan: Plan;
  /** What runs; describes itself for `explain()`. */
  readonly runner: { describe?(): Facts };
  /** `where` names the op in errors; `specs` are the shapes and dtypes of the results. */
  run(where: string, inputs: Inputs, specs: Roles<Outputs, OutputSpec>): Outputs;
}

/** The passes of one call. Each is prepared once, on first request. */
export interface PreparedCall<Inputs extends object, Outputs extends object, Gradients extends object> {
  /** @throws TopKError DOES_NOT_FIT. */
  forward(saves: boolean): PreparedPass<Inputs, Outputs>;
  /** For an operation that declares a backward pass. @throws TopKError DOES_NOT_FIT. */
  backward(): PreparedPass<BackwardRoles<Inputs, Outputs>, Gradients>;
}

/** Decides how the passes of a call run, on request. */
export function prepareCall<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: Operation<Request, Inputs, Outputs, Gradients>,
  backend: Backend,
  request: Request,
  wishes: Wishes,
): PreparedCall<Inputs, Outputs, Gradients> {
  const { limits } = backend.capabilities;
  const { name, forward, backward } = operation;
  const saving = (saves: boolean): Request => ({ ...request, saves });
  const askForward = remembered((saves: boolean) =>
    ask<Request, Inputs, Outputs>(backend, name, saving(saves), limits),
  );
  const askBackward = remembered((saves: true) =>
    ask<Request, BackwardRoles<Inputs, Outputs>, Gradients>(
      backend,
      `${name}Backward`,
      saving(saves),
      limits,
    ),
  );
  const forwardAnswer = (saves: boolean): Prepared<Inputs, Outputs> | Refused => {
    const own = askForward(saves);
    if (!saves || 'refusals' in own) return own;
    if (backward === undefined) return { refusals: ['no backward pass'] };
    return backward.isPaired ? orRefusalsOf(askBackward(true), 'training', own) : own;
  };
  const preparedForward = remembered((saves: boolean): PreparedPass<Inputs, Outputs> => {
    const asked = saving(saves);
    const path = pathOf(backend, name, forward, asked, limits, forwardAnswer(saves));
    const plan = planPass(operation, 'forward', asked, path.needs, limits, wishes);
    return { ...path.pass, plan, run: path.runWith(plan.chunk) };
  });
  const preparedBackward = remembered((saves: true) => {
    const asked = saving(saves);
    const answer = askBackward(saves);
    const isAlone = !backward?.isPaired || 'refusals' in answer;
    const own = isAlone ? answer : orRefusalsOf(askForward(saves), 'forward pass', answer);
    const declared = backward as NonNullable<typeof backward>;
    const path = pathOf(backend, `${name}Backward`, declared, asked, limits, own);
    const heldBytes = limits.keepsScratch ? preparedForward(true).plan.bytes.scratch : 0;
    const plan = planPass(operation, 'backward', asked, path.needs, limits, wishes, heldBytes);
    return { ...path.pass, plan, run: path.runWith(plan.chunk) };
  });
  return { forward: preparedForward, backward: () => preparedBackward(true) };
}

/** The answer, or the refusals of the other pass, which must run with it. */
function orRefusalsOf<Inputs, Outputs>(
  other: Prepared<never, object> | Refused,
  what: string,
  answer: Prepared<Inputs, Outputs> | Refused,
): Prepared<Inputs, Outputs> | Refused {
  if (!('refusals' in other)) return answer;
  return { refusals: other.refusals.map((one) => `${what}: ${one}`) };
}

/** The answer of a backend's fused operation. */
function ask<Request, Inputs, Outputs>(
  { fused, name: of }: Backend,
  name: string,
  request: Request,
  limits: DeviceLimits,
): Prepared<Inputs, Outputs> | Refused {
  // The table is open: the definition knows the types of the entry under its name.
  const operation = fused?.[name] as FusedOperation<Request, Inputs, Outputs> | undefined;
  if (operation !== undefined) return operation.prepare(request, limits);
  const what = name.endsWith('Backward') ? 'backward pass' : 'version';
  return { refusals: [`${of} has no fused ${what} of this operation`] };
}

interface Path<Inputs extends object, Outputs extends object> {
  readonly needs: PathNeeds;
  readonly pass: Omit<PreparedPass<Inputs, Outputs>, 'plan' | 'run'>;
  runWith(chunk: number): PreparedPass<Inputs, Outputs>['run'];
}

function pathOf<Request, Inputs extends object, Outputs extends object>(
  backend: Backend,
  name: string,
  definition: PassDefinition<Request, Inputs, Outputs>,
  request: Request,
  limits: DeviceLimits,
  fused: Prepared<Inputs, Outputs> | Refused,
): Path<Inputs, Outputs> {
  if (!('refusals' in fused)) {
    return {
      needs: fused,
      pass: { path: 'fused', refusals: [], runner: fused },
      runWith: (chunk) => (where, inputs, specs) => runFused(where, fused, inputs, specs, chunk),
    };
  }
  const composed = definition.composed(request, limits);
  const own = backend.composedBytes?.[name] as PathBytes<Request> | undefined;
  return {
    // If a backend counts its own bytes for the composed version, planning uses those.
    needs: own
      ? {
          scratchBytes: (chunk) => own.scratchBytes(request, chunk, limits),
          largestBytes: (chunk) => own.largestBytes?.(request, chunk, limits) ?? 0,
        }
      : composed,
    pass: { path: 'composed', refusals: fused.refusals, runner: composed },
    runWith: (chunk) => (_where, inputs) => composed.run(inputs, chunk),
  };
}

/** One op of the engine, whose failure poisons what it returns. */
function runFused<Inputs extends object, Outputs extends object>(
  where: string,
  fused: Prepared<Inputs, Outputs>,
  inputs: Inputs,
  specs: Roles<Outputs, OutputSpec>,
  chunk: number,
): Outputs {
  const made = apply(where, valuesOf<Tensor>(inputs), valuesOf<OutputSpec>(specs), () => {
    const handles = mapRoles(inputs, (one: Tensor): BackendTensor => one.handle);
    // The engine's values take the place of tensors under the same roles.
    const results = fused.run(handles as Inputs, chunk, specs as OutputSpecs) as Readonly<
      Record<string, BackendTensor>
    >;
    const ordered: BackendTensor[] = [];
    for (const role in specs) {
      const one = results[role];
      if (one === undefined) {
        throw new TopKError('UNSUPPORTED', `${where}: the backend returned no ${role}`);
      }
      ordered.push(one);
    }
    return ordered;
  });
  let at = 0;
  return mapRoles(specs, () => made[at++] as Tensor) as Roles<Outputs, Tensor> as Outputs;
}

/** Memoises a function: computes each argument's result once. */
function remembered<Argument, Result>(make: (argument: Argument) => Result): (argument: Argument) => Result {
  const known = new Map<Argument, Result>();
  return (argument) => {
    if (!known.has(argument)) known.set(argument, make(argument));
    return known.get(argument) as Result;
  };
}
