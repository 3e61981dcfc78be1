import { TopKError } from '../contract/errors.js';
import { describeValue } from '../tensor/describe-value.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * What a recording depends on, as text: the form of the trees, the shapes and dtypes of their tensors, and the statics.
 *
 * @throws TopKError INVALID_OPTION for a leaf that is not a tensor: a replay would not see it change.
 */
export function signatureOf(state: unknown, inputs: unknown, statics: readonly unknown[]): string {
  return `${formOf(state, 'state')}|${formOf(inputs, 'inputs')}|${statics.map(staticOf).join()}`;
}

/** JSON alone would write NaN and both infinities alike, and -0 as 0. */
function staticOf(one: unknown): string {
  if (typeof one === 'string') return JSON.stringify(one);
  return Object.is(one, -0) ? '-0' : String(one);
}

function formOf(node: unknown, path: string): string {
  if (node instanceof Tensor) return `${node.dtype}[${node.shape.join()}]`;
  if (Array.isArray(node)) return `(${node.map((one, at) => formOf(one, `${path}.${at}`)).join(';')})`;
  if (typeof node === 'object' && node !== null && Object.getPrototypeOf(node) === Object.prototype) {
    const fields = Object.entries(node).map(
      ([name, one]) => `${JSON.stringify(name)}:${formOf(one, `${path}.${name}`)}`,
    );
    return `{${fields.join(';')}}`;
  }
  throw new TopKError('INVALID_OPTION', `recordedStep: ${path} is not a tensor`, {
    expected: 'tensors, and arrays and objects of them',
    got: describeValue(node),
    fix: 'Pass numbers that change as tensors, and those that do not as statics',
  });
}
