import { custom } from '../autograd/custom.js';
import { firstOrder } from '../autograd/first-order.js';
import type { Backend } from '../contract/backend.js';
import { TopKError } from '../contract/errors.js';
import { zeros } from '../ops/create.js';
import type { OutputSpec } from '../tensor/apply.js';
import { commonBackend } from '../tensor/apply.js';
import { hasOpenTape, tapesTracking } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { BackwardRoles, DifferentiableOperation, Operation } from './define.js';
import type { Wishes } from './plan.js';
import { type PreparedCall, prepareCall } from './prepare.js';
import { entriesOf, fromRoles, mapRoles, type Roles, valuesOf } from './roles.js';

/** A checked call: what to compute, and from which tensors. */
export interface OperationCall<Request, Inputs> {
  /** Public name of the op, in errors and on the tape. */
  readonly where: string;
  /** Has `saves` if the caller wants what the forward pass keeps. */
  readonly request: Request;
  readonly inputs: Inputs;
  readonly wishes?: Wishes;
}

/** Runs an operation, and records it as one entry on the tapes that follow its inputs. */
export function runOperation<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: Operation<Request, Inputs, Outputs, Gradients>,
  call: OperationCall<NoInfer<Request>, NoInfer<Inputs>>,
): Outputs {
  const { where, request, inputs } = call;
  const prepared = prepare(operation, call);
  const saves = request.saves === true;
  // Nothing to record, and nothing made that would have to be disposed of.
  if (!hasOpenTape() && !operation.isEmpty?.(request) && prepared.forward(saves).path === 'fused') {
    return forwardOf(operation, call, prepared, false);
  }
  const tensors = Object.fromEntries(entriesOf<Tensor>(inputs));
  const { backward } = operation;
  if (backward === undefined) {
    // Tapes record nothing of a fused version; the composed version records its own ops.
    const isTracked = tapesTracking(Object.values(tensors).map((one) => one.value)).length > 0;
    return forwardOf(operation, call, prepared, isTracked);
  }
  const differentiable = backward.roles.filter((role) => tensors[role] !== undefined);
  let made: string[] = [];
  let kept: string[] = [];
  const outputs = custom(
    where,
    differentiable.map((role) => tensors[role] as Tensor),
    (isTracked) => {
      // Refuse a backward pass that will not fit here, before anything is allocated.
      if (isTracked && !operation.isEmpty?.(request)) prepared.backward();
      const results = forwardOf(operation, call, prepared, isTracked);
      const entries = entriesOf<Tensor>(results);
      const lists = entries.filter(([role]) => role !== 'output');
      const saved = isTracked ? [...entriesOf<Tensor>(inputs), ...lists] : [];
      made = entries.map(([role]) => role);
      kept = saved.map(([role]) => role);
      return { outputs: entries.map(([, one]) => one), saved: saved.map(([, one]) => one) };
    },
    (_ops, cotangents, saved) => {
      const dOutput = cotangents[made.indexOf('output')];
      // Only the lists got a cotangent, and they have no gradient.
      if (dOutput === undefined) return [];
      const again = Object.fromEntries(kept.map((role, at) => [role, saved[at] as Tensor]));
      const asked = { ...again, dOutput } as BackwardRoles<Inputs, Outputs>;
      const dependsOn = Object.keys(tensors).map((role) => again[role] as Tensor);
      return firstOrder(where, [...dependsOn, dOutput], () => {
        const gradients = backwardOf(operation, call, prepared, asked);
        const byRole = Object.fromEntries(entriesOf<Tensor>(gradients));
        return differentiable.map((role) => byRole[role] as Tensor);
      });
    },
  );
  return fromRoles<Outputs, Tensor>(made.map((role, at) => [role, outputs[at] as Tensor])) as Outputs;
}

/** Only the forward half, with what the backward half needs. Records nothing by itself. */
export function runForward<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: Operation<Request, Inputs, Outputs, Gradients>,
  call: OperationCall<NoInfer<Request>, NoInfer<Inputs>>,
): Outputs {
  return forwardOf(operation, call, prepare(operation, call), true);
}

/**
 * Only the backward half: gradients by role of the input, from the inputs, the saved tensors, and `dOutput`.
 *
 * @throws TopKError INVALID_OPTION if something that the forward half saves is missing.
 */
export function runBackward<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: DifferentiableOperation<Request, Inputs, Outputs, Gradients>,
  call: OperationCall<NoInfer<Request>, NoInfer<Inputs>>,
  roles: BackwardRoles<Inputs, Outputs>,
): Gradients {
  const given = new Set(entriesOf(roles).map(([role]) => role));
  const saved = Object.keys(operation.outputs({ ...call.request, saves: true })).filter(
    (role) => role !== 'output',
  );
  const missing = saved.filter((role) => !given.has(role));
  if (missing.length > 0) {
    throw new TopKError('INVALID_OPTION', `${call.where}.backward: no ${missing.join(' and no ')}`, {
      expected: `${saved.join(' and ')} of the forward half`,
      got: missing.length === saved.length ? 'none of them' : 'only some of them',
    });
  }
  return backwardOf(operation, call, prepare(operation, call), roles);
}

function prepare<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: Operation<Request, Inputs, Outputs, Gradients>,
  { where, request, inputs, wishes = {} }: OperationCall<Request, Inputs>,
): PreparedCall<Inputs, Outputs, Gradients> {
  return prepareCall(operation, commonBackend(where, valuesOf(inputs)), request, wishes);
}

function forwardOf<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: Operation<Request, Inputs, Outputs, Gradients>,
  { where, request, inputs }: OperationCall<Request, Inputs>,
  prepared: PreparedCall<Inputs, Outputs, Gradients>,
  isTracked: boolean,
): Outputs {
  const saves = isTracked || request.saves === true;
  const specs = operation.outputs({ ...request, saves });
  if (operation.isEmpty?.(request)) return emptyOf(commonBackend(where, valuesOf(inputs)), specs) as Outputs;
  return prepared.forward(saves).run(where, inputs, specs);
}

function backwardOf<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: Operation<Request, Inputs, Outputs, Gradients>,
  { where, request }: OperationCall<Request, Inputs>,
  prepared: PreparedCall<Inputs, Outputs, Gradients>,
  roles: BackwardRoles<Inputs, Outputs>,
): Gradients {
  const wanted: readonly string[] = operation.backward?.roles ?? [];
  const specs = fromRoles<Gradients, OutputSpec>(
    entriesOf<Tensor>(roles).filter(([role]) => wanted.includes(role)),
  );
  if (operation.isEmpty?.(request)) return emptyOf(roles.dOutput.backend, specs) as Gradients;
  return prepared.backward().run(`${where}.backward`, roles, specs);
}

/** Results when there is nothing to compute: tensors of zeros, with no other work for the engine. */
function emptyOf<Shape extends object>(
  backend: Backend,
  specs: Roles<Shape, OutputSpec>,
): Roles<Shape, Tensor> {
  return mapRoles(specs, ({ shape, dtype }: OutputSpec) => zeros(backend, shape, dtype)) as Roles<
    Shape,
    Tensor
  >;
}
