import { apply } from '../tensor/apply.js';
import { scopeKeeping } from '../tensor/scope-stack.js';
import { type BackwardRule, type Saved, tapesTracking, withoutTapes } from '../tensor/tape.js';
import { type Tensor, valuesMade } from '../tensor/tensor.js';

export interface CustomForward {
  readonly outputs: readonly Tensor[];
  /** What the rule needs later, in the places where it gets it; kept only when a tape follows one of the inputs. */
  readonly saved: Saved;
}

/**
 * An op composed of other ops, with its own gradient: the inner ops are not recorded. `forward` is told whether a tape
 * follows one of the inputs, and which of them, so that it can skip and leave out what only the backward pass uses.
 * `backward` gets the cotangents of the outputs (undefined where none arrived) and returns those of `inputs` (undefined:
 * none); its fourth argument says which of them are followed, so that the others can be left out. An output may be an
 * input or another tensor from outside: the result is a value of its own.
 */
export function custom(
  name: string,
  inputs: readonly Tensor[],
  forward: (isTracked: boolean, wanted: readonly boolean[]) => CustomForward,
  backward: BackwardRule,
): readonly Tensor[] {
  const values = inputs.map((input) => input.value);
  const tapes = tapesTracking(values);
  const wanted = values.map((value) => tapes.some((tape) => tape.tracks(value)));
  const before = valuesMade();
  const { outputs, saved } = withoutTapes(() =>
    scopeKeeping(
      () => {
        const made = forward(tapes.length > 0, wanted);
        // Aliases owned by the tapes: this scope disposes of everything made inside that is not an output.
        return {
          outputs: made.outputs.map((one) => (one.value.serial < before ? apart(name, one) : one)),
          saved: tapes.map(() => made.saved.map((one) => one?.unscopedAlias())),
        };
      },
      (made) => made.outputs,
    ),
  );
  tapes.forEach((tape, at) => {
    tape.record({
      name,
      inputs: values,
      outputs: outputs.map((output) => output.value),
      saved: saved[at] ?? [],
      backward,
    });
  });
  return outputs;
}

/** A tensor as a value of its own: to a tape it would be an input, or a constant of earlier ops. */
function apart(name: string, x: Tensor): Tensor {
  return apply(name, [x], [x], (backend, handle) => [backend.reshape(handle, x.shape)])[0] as Tensor;
}
