import {
  abs,
  add,
  cast,
  custom,
  div,
  exp,
  log,
  mean,
  mul,
  neg,
  relu,
  scope,
  sigmoid,
  sizeOf,
  sub,
  type Tensor,
} from '@topk-attention/core';
import { requirePair } from './require-pair.js';

/**
 * Mean of -(y log p + (1 - y) log(1 - p)) over all elements, with p = sigmoid(x), as PyTorch's
 * `binary_cross_entropy_with_logits`: computed as max(x, 0) - x y + log(1 + exp(-|x|)), which no logit makes overflow.
 *
 * @param logits x, float, any shape
 * @param targets y from 0 to 1, float, the same shape
 * @returns f32 scalar, computed in f32 for f16 too; NaN of no elements. Its gradient is (p - y) / elements for the logits
 * and -x / elements for the targets
 * @throws TopKError SHAPE_MISMATCH
 *
 * @example
 * const loss = binaryCrossEntropy(tensor(backend, [0, 0], [2]), tensor(backend, [1, 0], [2]));
 * // log 2
 */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor): Tensor {
  requirePair('binaryCrossEntropy', ['logits', 'targets'], [logits, targets]);
  return scope(() => {
    const [wide, wanted] = [cast(logits, 'f32'), cast(targets, 'f32')];
    // Its own rule: the parts have kinks at 0, where their gradients would not add up to p - y.
    const [loss] = custom(
      'binaryCrossEntropy',
      [wide, wanted],
      () => ({ outputs: [meanOf(wide, wanted)], saved: [wide, wanted] }),
      (_ops, [dLoss], saved) => {
        if (dLoss === undefined) return [];
        const [x, y] = saved as readonly [Tensor, Tensor];
        return scope(() => {
          const share = div(dLoss, sizeOf(x.shape));
          return [mul(sub(sigmoid(x), y), share), mul(x, neg(share))];
        });
      },
    );
    return loss as Tensor;
  });
}

function meanOf(x: Tensor, y: Tensor): Tensor {
  return scope(() => mean(add(sub(relu(x), mul(x, y)), log(add(1, exp(neg(abs(x))))))));
}
