import type { AttentionRequest } from '../contract/attention.js';
import { reshape } from '../ops/layout.js';
import { gatherRows } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** Where the keys of a request are. */
export type KeyExtents = Pick<AttentionRequest, 'batch' | 'keyHeads' | 'keyLength'>;

/** Rows of keys or values for kept indices [B, Hq, size, k]: [B * Hq * size, k, width], zeros for index -1. */
export function gatherKeyRows(request: KeyExtents, x: Tensor, indices: Tensor): Tensor {
  const { batch, keyHeads, keyLength } = request;
  const width = x.shape.at(-1) as number;
  const k = indices.shape.at(-1) as number;
  return scope(() => {
    const perKeyHead = reshape(indices, [batch * keyHeads, -1]);
    return reshape(gatherRows(reshape(x, [batch * keyHeads, keyLength, width]), perKeyHead), [-1, k, width]);
  });
}
