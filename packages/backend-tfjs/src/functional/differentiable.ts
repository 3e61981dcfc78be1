import { scope, type Tensor, TopKError } from '@topk-attention/core';
import type { TfjsBackend } from '../backend.js';
import { fromTf, toTf } from '../native.js';
import type { Tf, TfTensor } from '../tf.js';

/** A function of tensors given as two halves on core's tensors, as core offers them for attention and feed-forward. */
export interface Halves {
  /** What users call; errors speak of it. */
  readonly name: string;
  /** Float inputs, in the order in which `backward` returns gradients. */
  readonly inputs: readonly TfTensor[];
  /** Inputs without a gradient that both halves need. */
  readonly constants: readonly TfTensor[];
  /** Without `saves` nobody will ask for gradients or lists. */
  forward(inputs: readonly Tensor[], constants: readonly Tensor[], saves: boolean): ForwardHalf;
  /** One gradient per input; what `forward` listed comes back as `lists`. */
  backward(
    inputs: readonly Tensor[],
    constants: readonly Tensor[],
    lists: readonly Tensor[],
    dOutput: Tensor,
  ): readonly Tensor[];
}

interface ForwardHalf {
  readonly output: Tensor;
  /** What the backward half needs besides the inputs: all that is saved. */
  readonly lists: readonly Tensor[];
}

/** Ordinary tensors: tracked by the tidy that is open at the call, disposable. */
export interface DifferentiableResult {
  readonly output: TfTensor;
  /** Empty unless they were asked for. */
  readonly lists: readonly TfTensor[];
}

/**
 * Runs the forward half and, where tf is recording a tape, hands it the backward half through `tf.customGrad`. The tape
 * keeps the inputs (counted references to their data, no copies) and the lists; what the halves do inside is not recorded.
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
    // tf.customGrad frees all that its body made but one tensor: the lists stay core's own, which a tidy does not free.
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
    throw new TopKError('NOT_DIFFERENTIABLE', `${halves.name}: no gradient of the gradient`, {
      expected: 'first-order gradients',
      fix: 'Compose second-order functions of tf.matMul and tf.softmax, at the price of their L x L tensors',
    });
  };
  try {
    // As customGrad again: otherwise an outer tape would record the backward half, and the lists, which are constants to
    // it, would give wrong second-order gradients without a word.
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
