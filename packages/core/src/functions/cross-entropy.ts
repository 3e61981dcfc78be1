import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import { fill } from '../ops/create.js';
import {
  cast,
  div,
  eq,
  exp,
  le,
  log,
  logicalAnd,
  logicalNot,
  lt,
  mul,
  sub,
  where,
} from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { maxOver, sum } from '../ops/reduce.js';
import { takeAlong } from '../ops/select.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Mean negative log likelihood of `targets` under `logits`.
 *
 * @param logits float [N, classes]
 * @param targets i32 [N]; -1 leaves a row out of the mean and out of the gradient, whatever its logits hold; any other
 * target outside [0, classes) makes the loss NaN, and the gradient of its row
 * @returns f32 scalar, computed in f32 for f16 logits too; NaN if every row is left out
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  checkInputs(logits, targets);
  const [rows, classes] = logits.shape as readonly [number, number];
  return scope(() => {
    const dtype = 'f32';
    const { backend } = logits;
    const isCounted = logicalNot(eq(targets, -1));
    // Skipped rows are 0 from here on, so that a NaN in them does not reach the sums.
    const kept = where(reshape(isCounted, [rows, 1]), cast(logits, dtype), 0);
    const shifted = sub(kept, maxOver(kept, { axes: [-1], keepDims: true }));
    const logSum = log(sum(exp(shifted), { axes: [-1] }));
    const picked = reshape(takeAlong(shifted, reshape(targets, [rows, 1])), [rows]);
    // A wrong target picks NaN, which carries no gradient; multiplying by NaN does.
    const isClass = logicalAnd(le(0, targets), lt(targets, classes));
    const factors = where(isCounted, where(isClass, fill(backend, 1, [rows], dtype), Number.NaN), 0);
    return div(sum(mul(sub(logSum, picked), factors)), sum(cast(isCounted, dtype)));
  });
}

function checkInputs(logits: Tensor, targets: Tensor): void {
  requireTensor('crossEntropy', 'logits', logits);
  requireTensor('crossEntropy', 'targets', targets);
  const isFit = isFloat(logits.dtype) && logits.rank === 2 && targets.dtype === 'i32' && targets.rank === 1;
  if (isFit && targets.shape[0] === logits.shape[0]) return;
  throw new TopKError('SHAPE_MISMATCH', 'crossEntropy: logits and targets do not fit', {
    expected: 'logits float [N, classes] and targets i32 [N]',
    got: `${logits.dtype} ${formatShape(logits.shape)} and ${targets.dtype} ${formatShape(targets.shape)}`,
  });
}
