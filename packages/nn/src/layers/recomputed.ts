import { recompute, type Tensor } from '@topk-attention/core';
import { addLoss, type Context } from '../context.js';
import type { Run } from '../run.js';
import type { Trace } from '../trace.js';

/**
 * What `apply` returns for the inputs, run again in the backward pass instead of keeping what it needs for gradients
 * (see core's `recompute`). Hooks that look are called in the first run only; those that override, in both.
 *
 * @param inputs tensors that the caller may dispose of before the backward pass
 */
export function recomputed<R extends Run, Inputs>(
  run: R & Partial<Pick<Context, 'onLoss'>>,
  inputs: Inputs,
  apply: (run: R, inputs: Inputs) => Tensor,
): Tensor {
  const { onLoss, trace } = run;
  let paths: readonly string[] | undefined;
  const { output, losses } = recompute((given: Inputs) => {
    const made: (readonly [path: string, loss: Tensor])[] = [];
    const inner = {
      ...run,
      ...(trace !== undefined && paths !== undefined && { trace: overridesOf(trace) }),
      // As results, so that gradients reach them.
      ...(onLoss !== undefined && {
        onLoss: (path: string, loss: Tensor) => {
          made.push([path, loss.alias()]);
          loss.dispose();
        },
      }),
    };
    const output = apply(inner, given);
    paths ??= made.map(([path]) => path);
    return { output, losses: made.map(([, loss]) => loss) };
  }, inputs);
  for (const [at, loss] of losses.entries()) {
    addLoss({ onLoss, path: paths?.[at] } as Context, loss);
    loss.dispose();
  }
  return output;
}

function overridesOf({ overrideActivations, overrideResidual }: Trace): Trace {
  return {
    ...(overrideActivations && { overrideActivations }),
    ...(overrideResidual && { overrideResidual }),
  };
}
