import type { Backend, BackendTensor } from '../contract/backend.js';
import type { DType } from '../contract/dtype.js';
import { isEngineError, TopKError, toEngineError } from '../contract/errors.js';
import type { Shape } from '../contract/shape.js';
import { requireTensor } from './require-tensor.js';
import { type BackwardRule, type Saved, tapesTracking } from './tape.js';
import { Tensor, Value } from './tensor.js';

export interface OutputSpec {
  readonly shape: Shape;
  readonly dtype: DType;
}

export interface Differentiation {
  /** What the rule needs later for the inputs that a tape follows (`wanted`); called only if one does. */
  readonly save: (outputs: readonly Tensor[], wanted: readonly boolean[]) => Saved;
  readonly backward: BackwardRule;
}

/** The one backend of all inputs; throws where they differ. */
export function commonBackend(name: string, inputs: readonly Tensor[]): Backend {
  const [first] = inputs;
  requireTensor(name, 'operand', first);
  const { backend } = first;
  for (const input of inputs) {
    requireTensor(name, 'operand', input);
    if (input.backend === backend) continue;
    const isTwice = input.backend.name === backend.name;
    throw new TopKError('MIXED_BACKENDS', `${name}: the tensors belong to different backends`, {
      expected: `all on one ${backend.name} backend`,
      got: isTwice
        ? `two instances of the ${backend.name} backend`
        : `${backend.name} and ${input.backend.name}`,
      fix: 'Read the values with data() and upload them to one backend',
    });
  }
  return backend;
}

/**
 * Runs one op. Structural errors pass through; an engine error, or a poisoned input, poisons the outputs, whose
 * `data()` then rejects. Records the op on every open tape that follows one of the inputs.
 */
export function apply(
  name: string,
  inputs: readonly Tensor[],
  specs: readonly OutputSpec[],
  run: (backend: Backend, ...handles: BackendTensor[]) => readonly BackendTensor[],
  differentiation?: Differentiation,
): Tensor[] {
  const backend = commonBackend(name, inputs);
  const values = inputs.map((input) => input.value);
  const made = runOrPoison(name, backend, values, run);
  const outputs = specs.map((spec, index) => {
    const one = made instanceof TopKError ? made : (made[index] as BackendTensor);
    return new Tensor(new Value(backend, spec.shape, spec.dtype, one));
  });
  for (const tape of tapesTracking(values)) {
    if (differentiation === undefined) {
      // Values without a gradient (indices, masks, comparisons) cut the tape by design.
      continue;
    }
    const wanted = values.map((value) => tape.tracks(value));
    tape.record({
      name,
      inputs: values,
      outputs: outputs.map((output) => output.value),
      // Unscoped: the tape disposes of them, not the scope that happens to be open.
      saved: differentiation.save(outputs, wanted).map((one) => one?.unscopedAlias()),
      backward: differentiation.backward,
    });
  }
  return outputs;
}

/** Makes a tensor from numbers alone; an engine error poisons it. */
export function create(
  name: string,
  backend: Backend,
  spec: OutputSpec,
  run: (backend: Backend) => BackendTensor,
): Tensor {
  const made = runOrPoison(name, backend, [], () => [run(backend)]);
  return new Tensor(
    new Value(backend, spec.shape, spec.dtype, made instanceof TopKError ? made : (made[0] as BackendTensor)),
  );
}

function runOrPoison(
  name: string,
  backend: Backend,
  values: readonly Value[],
  run: (backend: Backend, ...handles: BackendTensor[]) => readonly BackendTensor[],
): readonly BackendTensor[] | TopKError {
  const poisoned = values.find((value) => value.failure !== undefined);
  if (poisoned?.failure !== undefined) return poisoned.failure;
  const handles = values.map((value) => value.handle);
  try {
    return run(backend, ...handles);
  } catch (error) {
    if (!isEngineError(error)) throw error;
    return toEngineError(error, `${backend.name}.${name}`);
  }
}
