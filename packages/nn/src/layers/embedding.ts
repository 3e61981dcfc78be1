import { gatherRows, reshape, scope, sizeOf, type Tensor } from '@topk-attention/core';
import { requireTensor } from '../require.js';

/**
 * Rows of a table by id: table [N, D], ids i32 [...] -> [..., D]. Id -1 gives zeros, any other id outside the table NaN.
 *
 * @throws TopKError RANK_MISMATCH, DTYPE_MISMATCH, INVALID_OPTION.
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  requireTensor('embedding', 'table', table, { rank: 2 });
  requireTensor('embedding', 'ids', ids, { dtype: 'i32' });
  const count = sizeOf(ids.shape);
  return scope(() => {
    const rows = gatherRows(reshape(table, [1, ...table.shape]), reshape(ids, [1, count]));
    return reshape(rows, [...ids.shape, table.shape[1] as number]);
  });
}
