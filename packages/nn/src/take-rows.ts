import { gatherRows, reshape, scope, type Tensor, TopKError, tensor } from '@topk-attention/core';
import { requireTensor } from './require.js';

/**
 * Rows along the first axis, in a new order, repeated or left out: x [B, ...] -> [rows.length, ...]. On the device, by one
 * op.
 *
 * @throws TopKError RANK_MISMATCH for a scalar, INVALID_OPTION unless `rows` are numbers of rows of x
 *
 * @example
 * const twice = takeRows(q, [0, 0, 1, 1]);
 */
export function takeRows(x: Tensor, rows: readonly number[]): Tensor {
  requireTensor('takeRows', 'x', x);
  const [batch = 0, ...rest] = x.shape;
  if (x.rank === 0) {
    throw new TopKError('RANK_MISMATCH', 'takeRows: x has no rows', { expected: 'at least 1', got: '0' });
  }
  const bad = rows.find((row) => !Number.isInteger(row) || row < 0 || row >= batch);
  if (bad !== undefined) {
    throw new TopKError('INVALID_OPTION', 'takeRows: no such row', {
      expected: `whole numbers from 0 to ${batch - 1}`,
      got: String(bad),
    });
  }
  const width = rest.reduce((product, extent) => product * extent, 1);
  return scope(() => {
    const indices = tensor(x.backend, Int32Array.from(rows), [1, rows.length], 'i32');
    return reshape(gatherRows(reshape(x, [1, batch, width]), indices), [rows.length, ...rest]);
  });
}
