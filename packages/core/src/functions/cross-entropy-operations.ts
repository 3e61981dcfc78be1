import type {
  CrossEntropyBackwardInputs,
  CrossEntropyGradients,
  CrossEntropyInputs,
  CrossEntropyOutputs,
  CrossEntropyRequest,
} from '../contract/cross-entropy.js';
import { bytesPerElement } from '../contract/dtype.js';
import { defineOperation, type Operation, type PassBytes } from '../operation/define.js';
import { fill } from '../ops/create.js';
import {
  add,
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
import { concat, reshape } from '../ops/layout.js';
import { maxOver, sum } from '../ops/reduce.js';
import { putAlong, takeAlong } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

const bytesOf = ({ rows, classes, dtype }: CrossEntropyRequest): PassBytes => ({
  inputs: rows * (classes * bytesPerElement(dtype) + 4),
  output: (2 * rows + 2) * bytesPerElement(dtype),
  saved: 0,
});

/*
 * Two operations, as for norms: gradients of gradients go through the composed version of the second, which computes
 * everything from the logits again, whereas a fused one reads the statistics.
 */

export const crossEntropyOperation: Operation<
  CrossEntropyRequest,
  CrossEntropyInputs<Tensor>,
  CrossEntropyOutputs<Tensor>
> = defineOperation<CrossEntropyRequest, CrossEntropyInputs<Tensor>, CrossEntropyOutputs<Tensor>>({
  name: 'crossEntropy',
  title: 'cross entropy',
  outputs: ({ rows, dtype }) => ({
    loss: { shape: [], dtype },
    statistics: { shape: [rows, 2], dtype },
    count: { shape: [], dtype },
  }),
  forward: {
    bytes: bytesOf,
    composed: (request) => ({
      scratchBytes: () => 3 * request.rows * request.classes * bytesPerElement(request.dtype),
      run: ({ logits, targets }) =>
        scope(() => {
          const { rows, labelSmoothing } = request;
          const { isCounted, ofRow, shifted, largest, logSum } = partsOf(logits, targets, request);
          const picked = reshape(takeAlong(shifted, reshape(targets, [rows, 1])), [rows]);
          // A wrong target picks NaN, which carries no gradient; multiplying by NaN does.
          const likely = labelSmoothing === 0 ? picked : smoothed(picked, shifted, request);
          const count = sum(cast(isCounted, request.dtype));
          return {
            loss: div(sum(mul(sub(reshape(logSum, [rows]), likely), ofRow)), count),
            statistics: concat([largest, logSum], 1),
            count,
          };
        }),
    }),
  },
});

export const crossEntropyGradientOperation: Operation<
  CrossEntropyRequest,
  CrossEntropyBackwardInputs<Tensor>,
  CrossEntropyGradients<Tensor>
> = defineOperation<CrossEntropyRequest, CrossEntropyBackwardInputs<Tensor>, CrossEntropyGradients<Tensor>>({
  name: 'crossEntropyGradient',
  title: 'gradient of the cross entropy',
  outputs: ({ rows, classes, dtype }) => ({ logits: { shape: [rows, classes], dtype } }),
  forward: {
    bytes: (request) => ({
      ...bytesOf(request),
      output: request.rows * request.classes * bytesPerElement(request.dtype),
    }),
    composed: (request) => ({
      scratchBytes: () => 4 * request.rows * request.classes * bytesPerElement(request.dtype),
      run: ({ logits, targets, count, dLoss }) =>
        scope(() => {
          const { rows, classes, dtype, labelSmoothing } = request;
          const { isCounted, ofRow, shifted, logSum } = partsOf(logits, targets, request);
          const likelihoods = scope(() => exp(sub(shifted, logSum)));
          const certain = fill(logits.backend, 1 - labelSmoothing, [rows, 1], dtype);
          const wanted = putAlong(reshape(targets, [rows, 1]), certain, classes);
          const apart = scope(() => {
            const off = sub(likelihoods, wanted);
            return labelSmoothing === 0 ? off.alias() : sub(off, labelSmoothing / classes);
          });
          // Without a row that counts, the mean divides by 0.
          const scales = where(isCounted, mul(ofRow, div(dLoss, count)), 0);
          return { logits: mul(apart, reshape(scales, [rows, 1])) };
        }),
    }),
  },
});

/** What both passes compute from the logits. */
function partsOf(
  logits: Tensor,
  targets: Tensor,
  { rows, classes, dtype }: CrossEntropyRequest,
): {
  readonly isCounted: Tensor;
  /** [rows]: 1, 0 if left out, NaN for a target that is no class. */
  readonly ofRow: Tensor;
  /** [rows, classes]: logits minus the largest of their row. */
  readonly shifted: Tensor;
  /** [rows, 1] */
  readonly largest: Tensor;
  /** [rows, 1] */
  readonly logSum: Tensor;
} {
  return scope(() => {
    const isCounted = logicalNot(eq(targets, -1));
    // Skipped rows are 0 from here on, so that a NaN in them does not reach the sums.
    const kept = where(reshape(isCounted, [rows, 1]), logits, 0);
    const largest = maxOver(kept, { axes: [-1], keepDims: true });
    const shifted = sub(kept, largest);
    const isClass = logicalAnd(le(0, targets), lt(targets, classes));
    return {
      isCounted,
      ofRow: where(isCounted, where(isClass, fill(logits.backend, 1, [rows], dtype), Number.NaN), 0),
      shifted,
      largest,
      logSum: log(sum(exp(shifted), { axes: [-1], keepDims: true })),
    };
  });
}

/** The target's log likelihood, up to `logSum`, mixed with the mean over all classes. */
function smoothed(picked: Tensor, shifted: Tensor, { labelSmoothing, classes }: CrossEntropyRequest): Tensor {
  return add(mul(picked, 1 - labelSmoothing), mul(sum(shifted, { axes: [-1] }), labelSmoothing / classes));
}
