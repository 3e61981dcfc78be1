import { scope } from '../tensor/scope.js';
import { forgetting, hasOpenTape } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';
import { leavesOf, mapTree, type Tree } from '../tensor/tree.js';
import { requireFunction } from './grad.js';

/**
 * Runs `f` without keeping what its ops need for gradients, and runs it again in the backward pass: activation
 * checkpointing, for memory in exchange for a second forward pass. Gradients have the same bits as without it, and reach
 * the inputs and every other tensor that `f` uses. Calls may be nested. Outside of grad, valueAndGrad and pullback, `f`
 * just runs.
 *
 * `f` must return the same each time: draw random numbers from fixed seeds, and change nothing outside. It must find the
 * tensors that it uses besides its inputs undisposed in the backward pass: pass what a layer around it makes as an input.
 *
 * @param inputs a tensor, or arrays and plain objects of tensors; anything else in them is passed on as it is
 * @throws TopKError INVALID_OPTION in the backward pass if `f` returns another form or other shapes then.
 *
 * @example
 * const w = tensor(backend, [1, 2, 3, 4], [2, 2]);
 * const block = (x: Tensor, w: Tensor) => gelu(matmul(x, w));
 * const loss = ({ w }: { w: Tensor }) => scope(() => {
 *   const x = tensor(backend, [1, 2], [1, 2]);
 *   const once = recompute(({ x }) => block(x, w), { x });
 *   return sum(recompute(({ once }) => block(once, w), { once }));
 * });
 * const { gradients } = valueAndGrad(loss)({ w });
 */
export function recompute<Inputs, R extends Tree>(f: (inputs: Inputs) => R, inputs: Inputs): R {
  requireFunction('recompute', f);
  // Aliases: a tensor that `f` did not make itself, such as an input, stays the caller's.
  const run = (): R => scope(() => mapTree(f(inputs), (leaf) => leaf.alias()));
  if (!hasOpenTape()) return run();
  const { result, tape, outer } = forgetting(run);
  const values = leavesOf(result).map((leaf) => leaf.value);
  // Others have no gradient, or come from outside and have it already.
  const places = values.flatMap((value, at) =>
    tape.made(value) && values.indexOf(value) === at ? [at] : [],
  );
  const used = [...tape.used];
  for (const one of outer) {
    if (places.length === 0 || !used.some((value) => one.tracks(value))) continue;
    one.record({
      name: 'recompute',
      inputs: used,
      outputs: places.map((at) => values[at] as (typeof values)[number]),
      saved: leavesOf(inputs).map((leaf) => leaf.unscopedAlias()),
      rerun: (saved) => {
        let at = 0;
        const again = leavesOf(f(mapTree(inputs, () => saved[at++] as Tensor)));
        return places.flatMap((place) => again[place]?.alias() ?? []);
      },
    });
  }
  return result;
}
