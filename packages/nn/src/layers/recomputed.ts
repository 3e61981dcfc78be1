import { recompute, type Tensor } from '@topk-attention/core';
import type { Context } from '../context.js';
import type { Run } from '../run.js';
import type { Trace } from '../trace.js';

/**
 * What `apply` returns for the inputs, run again in the backward pass instead of keeping what it needs for gradients
 * (see core's `recompute`). Hooks that look are called in the first run only; those that override, in both.
 *
 * @param inputs tensors that the caller may dispose of before the backward pass
 */
export function recomputed<R extends Run, Inputs>(
  run: R & Partial<Context>,
  inputs: Inputs,
  apply: (run: R, inputs: Inputs) => Tensor,
): Tensor {
  const { onLoss, parameters, path = '', trace } = run;
  let paths: readonly string[] | undefined;
  // The layer's parameters are inputs too: what was made of the caller's, such as halves, may be gone by then.
  const own = Object.entries(parameters ?? {}).filter(([name]) =>
    name.startsWith(path === '' ? '' : `${path}.`),
  );
  const all = { inputs, own: Object.fromEntries(own) };
  const { output, losses } = recompute((given: typeof all) => {
    const made: (readonly [path: string, loss: Tensor])[] = [];
    const inner = {
      ...run,
      ...(parameters && { parameters: { ...parameters, ...given.own } }),
      ...(trace !== undefined && paths !== undefined && { trace: overridesOf(trace) }),
      // As results, so that gradients reach them.
      ...(onLoss !== undefined && {
        // Unscoped, until the scopes of the layer have closed.
        onLoss: (path: string, loss: Tensor) => {
          made.push([path, loss]);
        },
      }),
    };
    try {
      const output = apply(inner, given.inputs);
      paths ??= made.map(([path]) => path);
      return { output, losses: made.map(([, loss]) => loss.alias()) };
    } finally {
      for (const [, loss] of made) loss.dispose();
    }
  }, all);
  for (const [at, loss] of losses.entries()) {
    // No scope around the layer disposes of what belongs to a hook.
    onLoss?.(paths?.[at] as string, loss.unscopedAlias());
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
