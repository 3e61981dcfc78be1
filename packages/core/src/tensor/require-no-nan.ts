import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import type { Tensor } from './tensor.js';

/**
 * Reads tensors back and throws if an f32 one holds NaN; others are passed over. Ops themselves never throw for values.
 *
 * @throws TopKError NAN_FOUND with the position of the first NaN.
 */
export async function requireNoNaN(where: string, ...tensors: readonly Tensor[]): Promise<void> {
  for (const one of tensors) {
    if (one.dtype !== 'f32') continue;
    const at = (await one.data()).findIndex((value) => Number.isNaN(value));
    if (at < 0) continue;
    throw new TopKError('NAN_FOUND', `${where}: NaN in a tensor of shape ${formatShape(one.shape)}`, {
      expected: 'numbers',
      got: `NaN at element ${at}`,
      fix: 'Look for infinities or NaN in weights and inputs; a +inf score makes its row NaN',
    });
  }
}
