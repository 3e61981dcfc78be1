import { checkFloats } from '../attention/request.js';
import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import type { ToeplitzProductInputs, ToeplitzProductRequest } from '../contract/toeplitz-product.js';
import type { OutputSpec } from '../tensor/apply.js';

/** The checked request of a call, from shapes. Without `saves`. */
export function toeplitzProductRequest(
  where: string,
  { factors, x }: ToeplitzProductInputs<OutputSpec>,
): ToeplitzProductRequest {
  const dtype = checkFloats(where, { factors, x });
  if (x.shape.length !== 4) {
    throw new TopKError('RANK_MISMATCH', `${where}: x has the wrong rank`, {
      expected: '4: [batch, heads, length, columns]',
      got: formatShape(x.shape),
    });
  }
  const [batch, heads, length, columns] = x.shape as readonly [number, number, number, number];
  if (length === 0) {
    throw new TopKError('EMPTY_SEQUENCE', `${where}: empty sequence`, {
      expected: 'at least one token',
      got: formatShape(x.shape),
    });
  }
  const [rows, distances] = factors.shape;
  if (factors.shape.length !== 2 || rows !== heads || distances !== 2 * length - 1) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: factors do not fit`, {
      expected: formatShape([heads, 2 * length - 1]),
      got: formatShape(factors.shape),
    });
  }
  return { batch, heads, length, columns, dtype, saves: false };
}
