import { gatherRows, reshape, scope, type Tensor } from '@topk-attention/core';

/** Rows of a table by id: table [N, D], ids i32 [B, L] -> [B, L, D]. Id -1 gives zeros. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  return scope(() => {
    const rows = gatherRows(reshape(table, [1, ...table.shape]), reshape(ids, [1, -1]));
    return reshape(rows, [...ids.shape, table.shape[1] as number]);
  });
}
