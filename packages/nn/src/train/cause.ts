import { isFloat, Tensor } from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';

/**
 * Where a batch holds NaN, such as `.x[3]`: in numbers, typed arrays, tensors, and arrays and plain objects of them.
 * For error messages, since it reads tensors back. Skips tensors that cannot be read.
 */
export async function nanIn(
  value: unknown,
  path = '',
  seen: Set<unknown> = new Set(),
): Promise<string | undefined> {
  if (typeof value === 'number') return Number.isNaN(value) ? path : undefined;
  if (typeof value !== 'object' || value === null || seen.has(value)) return undefined;
  seen.add(value);
  if (value instanceof Tensor) {
    if (!isFloat(value.dtype)) return undefined;
    const read = await value.data().catch(() => []);
    return nanIn(read, path, seen);
  }
  if (value instanceof Float32Array || value instanceof Float64Array) {
    const at = value.findIndex((one) => Number.isNaN(one));
    return at < 0 ? undefined : `${path}[${at}]`;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return undefined;
  for (const [key, one] of Object.entries(value)) {
    const found = await nanIn(one, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, seen);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The first name whose tensor holds a non-finite value. */
export async function firstNotFinite(tree: ParameterTree): Promise<string | undefined> {
  for (const [name, one] of Object.entries(tree)) {
    if (isFloat(one.dtype) && !(await one.data()).every((value) => Number.isFinite(Number(value))))
      return name;
  }
  return undefined;
}
