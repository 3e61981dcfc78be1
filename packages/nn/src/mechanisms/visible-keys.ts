import { arange, lt, reshape, type Tensor } from '@topk-attention/core';
import type { MechanismCall } from './mechanism.js';

/**
 * Which keys of a call are no padding, for mechanisms that hide the others themselves: bool [B, 1, Lk, 1], undefined if
 * there is none. Hidden keys and values may be NaN, and 0 times NaN is NaN: put zeros in their place with `where`.
 *
 * @example
 * import { where } from '@topk-attention/core';
 *
 * const shownKeys = (call: MechanismCall): Tensor => {
 *   const visible = visibleKeys(call);
 *   return visible === undefined ? call.key : where(visible, call.key, 0);
 * };
 */
export function visibleKeys({ key, options: { keyLengths } }: MechanismCall): Tensor | undefined {
  if (keyLengths === undefined) return undefined;
  const [batch, , keys] = key.shape as readonly [number, number, number];
  const positions = reshape(arange(key.backend, keys), [1, 1, keys, 1]);
  return lt(positions, reshape(keyLengths, [batch, 1, 1, 1]));
}
