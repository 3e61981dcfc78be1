import {
  abs,
  add,
  aNumber,
  cast,
  div,
  max,
  maxOver,
  min,
  mul,
  type OptionKinds,
  readOptions,
  reshape,
  scope,
  sumSquares,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';
import { requirePositive } from '../require.js';

export interface ClipGradNormOptions {
  /** 2, or Infinity for the largest element. Default 2. */
  readonly normType?: number;
}

export interface ClippedGradients {
  readonly gradients: ParameterTree;
  /** Norm of all gradients together before clipping, f32 []. Reading it waits; the step does not need it. */
  readonly norm: Tensor;
}

export interface ClipScale {
  /** min(1, maxNorm / (norm + 1e-6)), f32 []: `gradientScale` of an optimiser's step. */
  readonly scale: Tensor;
  /** Norm of all gradients together, f32 []. */
  readonly norm: Tensor;
}

const kinds: OptionKinds<ClipGradNormOptions> = { normType: aNumber };

/**
 * All gradients times min(1, maxNorm / (norm + 1e-6)), as in PyTorch's clip_grad_norm_. Reads nothing back: the norm
 * stays on the device. If the norm is NaN or infinite, so are the gradients; read `norm` and skip the step.
 *
 * @throws TopKError INVALID_OPTION
 */
export function clipGradNorm(
  gradients: ParameterTree,
  maxNorm: number,
  options?: ClipGradNormOptions,
): ClippedGradients {
  return scope(() => {
    const { scale, norm } = clipScaleOf('clipGradNorm', gradients, maxNorm, options);
    // The norm is f32 whatever they are, so that squares of f16 do not overflow.
    const clipped = Object.entries(gradients).map(
      ([name, g]) => [name, scope(() => cast(mul(cast(g, 'f32'), scale), g.dtype))] as const,
    );
    return { gradients: Object.fromEntries(clipped), norm };
  });
}

/**
 * What `clipGradNorm` multiplies gradients by, for an optimiser to apply in its update, which saves a pass over all
 * gradients: `optimizer.step(parameters, gradients, state, { gradientScale: scale })`.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const gradients = { w: tensor(backend, [3, 4]) };
 * const { scale, norm } = clipScale(gradients, 1); // 0.2 and 5
 */
export function clipScale(
  gradients: ParameterTree,
  maxNorm: number,
  options?: ClipGradNormOptions,
): ClipScale {
  return clipScaleOf('clipScale', gradients, maxNorm, options);
}

function clipScaleOf(
  where: string,
  gradients: ParameterTree,
  maxNorm: number,
  options: ClipGradNormOptions | undefined,
): ClipScale {
  const { normType = 2 } = readOptions(where, options, kinds);
  requirePositive(where, 'maxNorm', maxNorm);
  if (normType !== 2 && normType !== Number.POSITIVE_INFINITY) {
    throw new TopKError('INVALID_OPTION', `${where}: bad normType`, {
      expected: '2 or Infinity',
      got: String(normType),
    });
  }
  const all = Object.values(gradients);
  if (all.length === 0) {
    throw new TopKError('INVALID_OPTION', `${where}: no gradients`, {
      expected: 'at least one',
      got: 'none',
    });
  }
  return scope(() => {
    const norm = normType === 2 ? sumSquares(all).norm : largestOf(all);
    return { scale: scaleTo(norm, maxNorm), norm };
  });
}

function largestOf(all: readonly Tensor[]): Tensor {
  return scope(() =>
    all.map((g) => cast(maxOver(abs(reshape(g, [g.size]))), 'f32')).reduce((most, one) => max(most, one)),
  );
}

/** min(1, maxNorm / (norm + 1e-6)), shape []. */
export function scaleTo(norm: Tensor, maxNorm: number): Tensor {
  return scope(() => min(div(maxNorm, add(norm, 1e-6)), 1));
}

/**
 * Clamps every element of every gradient to [-limit, limit], as PyTorch's clip_grad_value_ does.
 *
 * @throws TopKError INVALID_OPTION
 */
export function clipGradValue(gradients: ParameterTree, limit: number): ParameterTree {
  requirePositive('clipGradValue', 'limit', limit);
  return scope(() =>
    Object.fromEntries(
      Object.entries(gradients).map(([name, g]) => [name, scope(() => max(min(g, limit), -limit))]),
    ),
  );
}
