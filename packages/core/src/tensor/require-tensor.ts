import { TopKError } from '../contract/errors.js';
import { describeValue } from './describe-value.js';
import { Tensor } from './tensor.js';

/** Throws INVALID_OPTION for an argument that is not this package's tensor: an array, or another library's tensor. */
export function requireTensor(where: string, name: string, value: unknown): asserts value is Tensor {
  if (value instanceof Tensor) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'a Tensor from @topk-attention/core',
    got: describeValue(value),
    fix: 'Make one with tensor(backend, data, shape)',
  });
}
