import { scope, type Tensor, TopKError } from '@topk-attention/core';
import type { TfjsBackend } from '../backend.js';
import { fromTf, toTf } from '../native.js';
import type { Tf, TfTensor } from '../tf.js';

/**
 * A function as two halves, forward and backward, on core's tensors, as core has them for attention and feed-forward.
 */
export interface Halves {
  /** The function that users call, for errors. */
  readonly name: string;
  /** Float inputs, in the order in which `backward` returns gradients. */
  readonly inputs: readonly TfTensor[];
  /** Inputs without a gradient that both halves need. */
  readonly constants: readonly TfTensor[];
  /** Without `saves`, neither gradients nor lists will be asked for. */
  forward(inputs: readonly Tensor[], constants: readonly Tensor[], saves: boolean): ForwardHalf;
  /** One gradient per input; `lists` are those of `forward`. */
  backward(
    inputs: readonly Tensor[],
    constants: readonly Tensor[],
    lists: readonly Tensor[],
    dOutput: Tensor,
  ): readonly Tensor[];
}

interface ForwardHalf {
  readonly output: Tensor;
  /** Everything that is saved for the backward half in addition to the inputs. */
  readonly lists: readonly Tensor[];
}

/** Ordinary tensors: tracked by the tidy that is open at the call, disposable. */
export interface DifferentiableResult {
  readonly output: TfTensor;
  /** Empty unless asked for. */
  readonly lists: readonly TfTensor[];
}

/**
 * Runs the forward half and, while tf records a tape, gives it the backward half through `tf.customGrad`. The tape
 * keeps the inputs (counted references to their data, no copies) and the lists; ops inside the halves are not recorded.
 */
export function differentiable(
  tf: Tf,
  backend: TfjsBackend,
  halves: Halves,
  wantsLists: boolean,
): DifferentiableResult {
  const { inputs, constants } = halves;
  const isTaped = tf.engine().isTapeOn();
  const run: { made?: ForwardHalf } = {};
  const forward = (): ForwardHalf =>
    scope(() =>
      halves.forward(borrowed(backend, inputs), borrowed(backend, constants), isTaped || wantsLists),
    );
  try {
    // tf.customGrad frees all tensors of its body but one. The lists stay tensors of core, which a tidy does not free.
    const taped = tf.customGrad((...operands) => {
      run.made = forward();
      const save = operands.at(-1);
      if (typeof save === 'function') save([...inputs, ...constants, ...run.made.lists.map(toTf)]);
      return {
        value: toTf(run.made.output),
        gradFunc: (dOutput: TfTensor, saved: TfTensor[]) => gradients(tf, backend, halves, dOutput, saved),
      };
    });
    if (isTaped) {
      const output = taped(...inputs);
      return { output, lists: wantsLists ? listsOf(run.made) : [] };
    }
    run.made = forward();
    return { output: toTf(run.made.output), lists: wantsLists ? listsOf(run.made) : [] };
  } finally {
    for (const one of [run.made?.output, ...(run.made?.lists ?? [])]) one?.dispose();
  }
}

function listsOf(made: ForwardHalf | undefined): readonly TfTensor[] {
  return made?.lists.map(toTf) ?? [];
}

function gradients(
  tf: Tf,
  backend: TfjsBackend,
  halves: Halves,
  dOutput: TfTensor,
  saved: readonly TfTensor[],
): TfTensor[] {
  const behindInputs = halves.inputs.length;
  const behindConstants = behindInputs + halves.constants.length;
  const inputs = saved.slice(0, behindInputs);
  let made: readonly Tensor[] | undefined;
  const compute = (): readonly Tensor[] =>
    scope(() =>
      halves.backward(
        borrowed(backend, inputs),
        borrowed(backend, saved.slice(behindInputs, behindConstants)),
        borrowed(backend, saved.slice(behindConstants)),
        fromTf(backend, dOutput),
      ),
    );
  const refuse = (): never => {
    throw new TopKError('NOT_DIFFERENTIABLE', `${halves.name}: second-order gradients are not supported`, {
      expected: 'first-order gradients',
      fix: 'Compose the layer from tf.matMul and tf.softmax to get second-order gradients, at the cost of L x L tensors',
    });
  };
  try {
    // In customGrad again: otherwise an outer tape would record the backward half with the lists as constants, and
    // silently give wrong second-order gradients.
    return inputs.map((_, index) =>
      tf.customGrad(() => {
        made ??= compute();
        return { value: toTf(made[index] as Tensor), gradFunc: refuse };
      })(...inputs, dOutput),
    );
  } finally {
    for (const one of made ?? []) one.dispose();
  }
}

function borrowed(backend: TfjsBackend, tensors: readonly TfTensor[]): readonly Tensor[] {
  return tensors.map((one) => fromTf(backend, one));
}
