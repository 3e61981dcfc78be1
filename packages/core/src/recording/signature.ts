import { Tensor } from '../tensor/tensor.js';
import { requireTree, type Tree } from '../tensor/tree.js';

const LEAVES = 'Pass numbers that change as tensors, and those that do not as statics';

/**
 * What a recording depends on, as text: the form of the trees, the shapes and dtypes of their tensors, and the statics.
 *
 * @throws TopKError INVALID_OPTION for a leaf that is not a tensor: a replay would not see it change.
 */
export function signatureOf(state: unknown, inputs: unknown, statics: readonly unknown[]): string {
  requireTree('recordedStep', 'state', state, LEAVES);
  requireTree('recordedStep', 'inputs', inputs, LEAVES);
  return `${formOf(state)}|${formOf(inputs)}|${statics.map(staticOf).join()}`;
}

/** JSON alone would write NaN and both infinities alike, and -0 as 0. */
function staticOf(one: unknown): string {
  if (typeof one === 'string') return JSON.stringify(one);
  return Object.is(one, -0) ? '-0' : String(one);
}

function formOf(tree: Tree): string {
  if (tree instanceof Tensor) return `${tree.dtype}[${tree.shape.join()}]`;
  if (Array.isArray(tree)) return `(${tree.map(formOf).join(';')})`;
  return `{${Object.entries(tree)
    .map(([name, one]) => `${JSON.stringify(name)}:${formOf(one)}`)
    .join(';')}}`;
}
