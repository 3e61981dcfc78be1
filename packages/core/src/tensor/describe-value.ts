import { formatShape } from '../contract/shape.js';
import { Tensor } from './tensor.js';

/** A value as worded in an error's "got": strings in quotes, numbers as they are, objects by their kind. */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return `'${value.length > 40 ? `${value.slice(0, 40)}...` : value}'`;
    case 'function':
      return 'a function';
    case 'bigint':
      return `${value}n`;
    case 'object':
      return value === null ? 'null' : describeObject(value);
    default:
      return String(value);
  }
}

function describeObject(value: object): string {
  if (value instanceof Tensor) return `a Tensor, ${value.dtype} ${formatShape(value.shape)}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  const name: unknown = value.constructor?.name;
  if (typeof name !== 'string' || name === '' || name === 'Object') return 'an object';
  // A second copy of core on the same page makes these too.
  if (name === 'Tensor') return 'a Tensor from another library';
  return `${/^[AEIO]/.test(name) ? 'an' : 'a'} ${name}`;
}
