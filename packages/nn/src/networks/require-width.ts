import { formatShape, type Tensor, TopKError } from '@topk-attention/core';
import type { Context } from '../context.js';
import { requireTensor } from '../require.js';

/** @throws TopKError INVALID_OPTION, RANK_MISMATCH, SHAPE_MISMATCH for an input that is not [..., width]. */
export function requireWidth({ path }: Context, x: Tensor, width: number, rank?: number): void {
  const where = path === '' ? 'the layer' : path;
  requireTensor(where, 'the input', x, rank === undefined ? {} : { rank });
  if (x.shape.at(-1) === width) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: the input has the wrong width`, {
    expected: `[..., ${width}]`,
    got: formatShape(x.shape),
  });
}
