import { fill } from '../ops/create.js';
import { div, eq, exp, log, mul, sub, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { maxOver, sum } from '../ops/reduce.js';
import { takeAlong } from '../ops/select.js';
import { scope } from '../scope.js';
import type { Tensor } from '../tensor.js';

/**
 * Mean negative log likelihood of `targets` under `logits`.
 *
 * @param logits float [N, classes]
 * @param targets i32 [N]; -1 leaves a row out of the mean
 * @returns scalar
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  return scope(() => {
    const rows = targets.size;
    const counted = where(
      eq(targets, -1),
      fill(logits.backend, 0, [rows], logits.dtype),
      fill(logits.backend, 1, [rows], logits.dtype),
    );
    const largest = maxOver(logits, { axes: [-1], keepDims: true });
    const shifted = sub(logits, largest);
    const logSum = log(sum(exp(shifted), { axes: [-1] }));
    const picked = reshape(takeAlong(shifted, reshape(targets, [rows, 1])), [rows]);
    const total = sum(mul(sub(logSum, picked), counted));
    return div(total, sum(counted));
  });
}
