import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import type { Tensor } from './tensor.js';

/**
 * Reads tensors back and throws if one of f32 or f16 holds NaN; others are passed over. Ops themselves never throw for
 * values. It does not look for infinities, nor for finite numbers that an overflow on the way has made wrong.
 *
 * @throws TopKError NAN_FOUND with the position of the first NaN.
 */
export async function requireNoNaN(where: string, ...tensors: readonly Tensor[]): Promise<void> {
  for (const one of tensors) {
    if (!isFloat(one.dtype)) continue;
    const isNaNAt = one.dtype === 'f16' ? isHalfNaN : Number.isNaN;
    const at = (await one.data()).findIndex((value) => isNaNAt(value));
    if (at < 0) continue;
    throw new TopKError('NAN_FOUND', `${where}: NaN in a tensor of shape ${formatShape(one.shape)}`, {
      expected: 'numbers',
      got: `NaN at element ${at}`,
      fix: 'Look for infinities or NaN in weights and inputs, and for indices outside of a table or a graph (requireGraph); a +inf score makes its row NaN',
    });
  }
}

/** Of the bits of a half: all of its exponent, and some of its fraction. */
function isHalfNaN(bits: number): boolean {
  return (bits & 0x7fff) > 0x7c00;
}
