import { cast, elementIsNaN, lt, where } from '../ops/elementwise.js';
import { maxOver } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** Scores without NaN for `topK`, and bool [..., 1]: whether the row had one. */
export function setNaNAside(scores: Tensor): { finite: Tensor; hadNaN: Tensor } {
  return scope(() => {
    const nan = elementIsNaN(scores);
    // Its own scope: the widened flags are as large as the scores and must be freed before `finite` is made.
    const hadNaN = scope(() => lt(0, maxOver(cast(nan, 'f32'), { axes: [-1], keepDims: true })));
    return { finite: where(nan, Number.NEGATIVE_INFINITY, scores), hadNaN };
  });
}
