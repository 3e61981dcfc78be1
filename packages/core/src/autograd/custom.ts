import { apply } from '../tensor/apply.js';
import { scopeKeeping } from '../tensor/scope-stack.js';
import { type BackwardRule, type Saved, tapesTracking, withoutTapes } from '../tensor/tape.js';
import { type Tensor, Value } from '../tensor/tensor.js';

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
 * input or another tensor from outside: where a tape follows, it becomes a value of its own.
 */
export function custom(
  name: string,
  inputs: readonly Tensor[],
  forward: (isTracked: boolean, wanted: readonly boolean[]) => CustomForward,
  backward: BackwardRule,
): readonly Tensor[] {
  const values = inputs.map((input) => input.value);
  const tapes = tapesTracking(values);
  const ofTapes = tapes.map((tape) => values.map((value) => tape.tracks(value)));
  const wanted = values.map((_, at) => ofTapes.some((followed) => followed[at]));
  const first = Value.next;
  const { outputs, saved } = withoutTapes(() =>
    scopeKeeping(
      () => {
        const made = forward(tapes.length > 0, wanted);
        const isOutside = ({ value }: Tensor): boolean => tapes.length > 0 && value.serial < first;
        return {
          outputs: made.outputs.map((one) => (isOutside(one) ? itself(one) : one)),
          // Aliases owned by the tapes: this scope disposes of everything made inside that is not an output.
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
      wanted: ofTapes[at] ?? [],
      backward,
    });
  });
  return outputs;
}

/** The same numbers as a value of its own: to a tape, a tensor from outside would be an input, or a constant before. */
function itself(x: Tensor): Tensor {
  const [made] = apply('custom', [x], [x], (backend, handle) => [backend.reshape(handle, x.shape)]);
  return made as Tensor;
}
