import { TopKError } from '../contract/errors.js';
import { formatShape, type Shape, sameShape } from '../contract/shape.js';
import type { Tensor } from './tensor.js';

/** The gradient of an output has the output's shape. */
export function requireOutputShape(where: string, dOutput: Tensor, shape: Shape): void {
  if (sameShape(dOutput.shape, shape)) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: dOutput has the wrong shape`, {
    expected: formatShape(shape),
    got: formatShape(dOutput.shape),
  });
}
