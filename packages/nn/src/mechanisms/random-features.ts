import {
  add,
  custom,
  eq,
  exp,
  matmul,
  maxOver,
  mul,
  relu,
  scope,
  sub,
  sum,
  type Tensor,
  where,
} from '@topk-attention/core';
import type { Initializer } from '../declared/initializers.js';
import { orthonormalRows } from '../declared/orthogonal.js';
import { normalNumbers } from '../declared/random.js';

/**
 * Directions of random features [r, D]: blocks of D orthogonal rows, each as long as a Gaussian vector, so that every
 * row by itself is N(0, I).
 */
export const orthogonalFeatures: Initializer = ([features = 0, width = 0], seed) => {
  const rows = new Float64Array(features * width);
  // Stream 0 gives the lengths; each block has one of the others.
  const gaussian = normalNumbers(seed, features * width);
  for (let start = 0, block = 1; start < features; start += width, block++) {
    const count = Math.min(width, features - start);
    rows.set(orthonormalRows(count, width, seed, block), start * width);
  }
  for (let row = 0; row < features; row++) {
    const length = Math.hypot(...gaussian.subarray(row * width, (row + 1) * width));
    for (let at = row * width; at < (row + 1) * width; at++) rows[at] = (rows[at] as number) * length;
  }
  return rows;
};

/**
 * Logarithms of positive features of the softmax kernel: the product of their exps for x and y, averaged over the
 * directions, has the expected value exp(x . y). x [..., L, D], directions [r, D] -> [..., L, r].
 */
export function softmaxFeatureLogits(x: Tensor, directions: Tensor): Tensor {
  return scope(() => {
    const halfSquare = mul(sum(mul(x, x), { axes: [-1], keepDims: true }), 0.5);
    return sub(matmul(x, directions, { transposeB: true }), halfSquare);
  });
}

/**
 * exp(logits - peak) + epsilon: the peak keeps exp within range and does not change attention's quotient. Zeros where a
 * logit is -inf.
 */
export function positiveFeatures(logits: Tensor, peak: Tensor, epsilon: number): Tensor {
  return scope(() => {
    const features = exp(sub(logits, peak));
    if (epsilon === 0) return features;
    return where(eq(logits, Number.NEGATIVE_INFINITY), 0, add(features, epsilon));
  });
}

/** The largest logit over axes, as a constant: 0 where all are -inf. */
export function peakOf(logits: Tensor, axes: readonly number[]): Tensor {
  return constantOf([logits], () => finitePeak(maxOver(logits, { axes, keepDims: true })));
}

/** A peak to subtract: 0 in place of -inf. */
function finitePeak(peak: Tensor): Tensor {
  return where(eq(peak, Number.NEGATIVE_INFINITY), 0, peak);
}

/**
 * What is made of tensors, without a gradient: for peaks and factors made of them, which change the range of numbers and
 * not the result.
 */
export function constantOf(inputs: readonly Tensor[], make: () => Tensor): Tensor {
  const [made] = custom(
    'constant',
    inputs,
    () => ({ outputs: [scope(make)], saved: [] }),
    () => inputs.map(() => undefined),
  );
  return made as Tensor;
}

/** Features of the ReLU kernel: relu(x . direction) + epsilon. */
export function reluFeatures(x: Tensor, directions: Tensor, epsilon: number): Tensor {
  return scope(() => add(relu(matmul(x, directions, { transposeB: true })), epsilon));
}
