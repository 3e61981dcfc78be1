import type { Backend, BackendTensor } from '../contract/backend.js';
import { TopKError } from '../contract/errors.js';
import type { Facts, FusedOperation, PathBytes, Prepared, Refused } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import { apply, type OutputSpec } from '../tensor/apply.js';
import type { Tensor } from '../tensor/tensor.js';
import type { BackwardRoles, ComposedPass, Operation, PassDefinition } from './define.js';
import { type Plan, planPass, shareOf, type Wishes } from './plan.js';
import { entriesOf, fromRoles, mapRoles, type Roles } from './roles.js';

/** A pass of a call, ready to run: which path, why not the other, and its plan. */
interface PreparedPass<Inputs extends object, Outputs extends object> {
  readonly path: 'fused' | 'composed';
  /** Why no fused version runs; empty where it does. */
  readonly refusals: readonly string[];
  readonly plan: Plan;
  /** What runs, for `explain()`. */
  describe(): Facts;
  /** `where` names the op in errors; `specs` are shapes and dtypes of what it returns. */
  run(where: string, inputs: Inputs, specs: Roles<Outputs, OutputSpec>): Outputs;
}

/** The passes of one call. Each is prepared when it is first asked for, and once. */
export interface PreparedCall<Inputs extends object, Outputs extends object, Gradients extends object> {
  /** @throws TopKError DOES_NOT_FIT. */
  forward(saves: boolean): PreparedPass<Inputs, Outputs>;
  /** @throws TopKError DOES_NOT_FIT. */
  backward(): PreparedPass<BackwardRoles<Inputs, Outputs>, Gradients>;
}

/** Decides how the passes of a call run, when they are asked for. */
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
  const { name, title, chunks, forward, backward } = operation;
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
    if (backward === undefined) return { refusals: ['training: the operation declares no backward pass'] };
    return backward.isPaired === true ? orRefusalsOf(askBackward(true), 'training', own) : own;
  };
  const preparedForward = remembered((saves: boolean): PreparedPass<Inputs, Outputs> => {
    const asked = saving(saves);
    const path = pathOf(backend, name, forward, asked, limits, forwardAnswer(saves));
    const pass = { title, request: asked, chunks, bytes: forward.bytes(asked, limits), path: path.needs };
    const plan = planPass({ ...pass, share: shareOf(saves, limits) }, limits, wishes);
    return { ...path.pass, plan, run: path.runWith(plan.chunk) };
  });
  const preparedBackward = remembered((saves: true) => {
    if (backward === undefined) {
      throw new TopKError('NOT_DIFFERENTIABLE', `${title}: the operation declares no backward pass`);
    }
    const asked = saving(saves);
    const answer = askBackward(saves);
    const isAlone = backward.isPaired !== true || 'refusals' in answer;
    const own = isAlone ? answer : orRefusalsOf(askForward(saves), 'forward pass', answer);
    const path = pathOf(backend, `${name}Backward`, backward, asked, limits, own);
    const bytes = backward.bytes(asked, limits);
    const heldBytes = limits.keepsScratch ? preparedForward(true).plan.bytes.scratch : 0;
    const pass = { title: `${title}.backward`, request: asked, chunks, bytes, path: path.needs, heldBytes };
    const plan = planPass(pass, limits, wishes);
    return { ...path.pass, plan, run: path.runWith(plan.chunk) };
  });
  return { forward: preparedForward, backward: () => preparedBackward(true) };
}

/** The answer, unless the other pass, which has to run with it, is refused. */
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
  // The table is open: the definition knows the types of what stands under its name.
  const operation = fused?.[name] as FusedOperation<Request, Inputs, Outputs> | undefined;
  if (operation !== undefined) return operation.prepare(request, limits);
  const what = name.endsWith('Backward') ? 'backward pass' : 'version';
  return { refusals: [`${of} has no fused ${what} of this operation`] };
}

interface Path<Inputs extends object, Outputs extends object> {
  readonly needs: ComposedPass<never, object> | Prepared<never, object>;
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
      pass: { path: 'fused', refusals: [], describe: () => fused.describe?.() ?? {} },
      runWith: (chunk) => (where, inputs, specs) => runFused(where, fused, inputs, specs, chunk),
    };
  }
  const composed = definition.composed(request, limits);
  const own = backend.composedBytes?.[name] as PathBytes<Request> | undefined;
  return {
    needs: own === undefined ? composed : bytesOf(own, composed, request, limits),
    pass: { path: 'composed', refusals: fused.refusals, describe: () => composed.describe?.() ?? {} },
    runWith: (chunk) => (_where, inputs) => composed.run(inputs, chunk),
  };
}

/** The composed path with the bytes that a backend counts for it. */
function bytesOf<Request, Inputs, Outputs>(
  bytes: PathBytes<Request>,
  { run }: ComposedPass<Inputs, Outputs>,
  request: Request,
  limits: DeviceLimits,
): ComposedPass<Inputs, Outputs> {
  return {
    run,
    scratchBytes: (chunk) => bytes.scratchBytes(request, chunk, limits),
    largestBytes: (chunk) => bytes.largestBytes?.(request, chunk, limits) ?? 0,
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
  const wanted = entriesOf<OutputSpec>(specs);
  const made = apply(
    where,
    entriesOf<Tensor>(inputs).map(([, one]) => one),
    wanted.map(([, spec]) => spec),
    () => {
      const handles = mapRoles(inputs, (one: Tensor): BackendTensor => one.handle);
      // The engine's values stand for tensors under the same roles.
      const results = fused.run(handles as Inputs, chunk) as Readonly<Record<string, BackendTensor>>;
      return wanted.map(([role]) => {
        const one = results[role];
        if (one !== undefined) return one;
        throw new TopKError('UNSUPPORTED', `${where}: the fused version returned no ${role}`, {
          expected: wanted.map(([each]) => each).join(', '),
          got: Object.keys(results).join(', '),
        });
      });
    },
  );
  return fromRoles<Outputs, Tensor>(wanted.map(([role], at) => [role, made[at] as Tensor])) as Outputs;
}

/** A function whose results are kept: it is asked once for each argument. */
function remembered<Argument, Result>(make: (argument: Argument) => Result): (argument: Argument) => Result {
  const known = new Map<Argument, Result>();
  return (argument) => {
    const found = known.get(argument);
    if (found !== undefined) return found;
    const made = make(argument);
    known.set(argument, made);
    return made;
  };
}
