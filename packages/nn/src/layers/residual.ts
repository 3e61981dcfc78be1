import { formatShape, type Tensor, TopKError } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { Run } from '../run.js';
import { handOver } from '../trace.js';

/** Shows hooks the residual stream x [B, L, D] in front of the feed-forward layer at a path. */
export function beforeFeedForward({ trace }: Run, path: string, x: Tensor): void {
  trace?.onBeforeFeedForward?.(path, handOver(x));
}

/**
 * The residual stream x [B, L, D] after a block, which hooks see and may replace.
 *
 * @throws TopKError SHAPE_MISMATCH for a replacement of another shape.
 */
export function residual({ trace }: Run, path: string, x: Tensor): Tensor {
  trace?.onResidual?.(path, handOver(x));
  const replaced = trace?.overrideResidual?.(path, x);
  if (replaced === undefined) return x;
  if (sameShape(replaced.shape, x.shape)) return replaced.alias();
  throw new TopKError(
    'SHAPE_MISMATCH',
    `${path}: the residual stream was replaced by a tensor of another shape`,
    {
      expected: formatShape(x.shape),
      got: formatShape(replaced.shape),
    },
  );
}
