import { formatShape, isFloat, type Tensor, TopKError } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';

/** @throws TopKError SHAPE_MISMATCH unless both are floats of one shape. */
export function requirePair(
  where: string,
  names: readonly [string, string],
  pair: readonly [Tensor, Tensor],
): void {
  const [one, other] = pair;
  if (isFloat(one.dtype) && isFloat(other.dtype) && sameShape(one.shape, other.shape)) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: ${names[0]} and ${names[1]} do not match`, {
    expected: 'floats of one shape',
    got: pair.map(({ dtype, shape }) => `${dtype} ${formatShape(shape)}`).join(' and '),
  });
}
