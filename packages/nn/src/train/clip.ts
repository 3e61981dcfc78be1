import {
  abs,
  add,
  aNumber,
  div,
  max,
  maxOver,
  min,
  mul,
  type OptionKinds,
  readOptions,
  reshape,
  scope,
  sqrt,
  sum,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';

export interface ClipGradNormOptions {
  /** 2, or Infinity for the largest element. Default 2. */
  readonly normType?: number;
}

export interface ClippedGradients {
  readonly gradients: ParameterTree;
  /** Norm of all gradients together before clipping, shape []. Reading it waits; the step does not need it. */
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
  const { normType = 2 } = readOptions('clipGradNorm', options, kinds);
  requirePositive('clipGradNorm', 'maxNorm', maxNorm);
  if (normType !== 2 && normType !== Number.POSITIVE_INFINITY) {
    throw new TopKError('INVALID_OPTION', 'clipGradNorm: bad normType', {
      expected: '2 or Infinity',
      got: String(normType),
    });
  }
  const all = Object.values(gradients);
  if (all.length === 0) {
    throw new TopKError('INVALID_OPTION', 'clipGradNorm: no gradients', {
      expected: 'at least one',
      got: 'none',
    });
  }
  return scope(() => {
    const norm = scope(() =>
      normType === 2
        ? sqrt(all.map((g) => sum(mul(g, g))).reduce((total, one) => add(total, one)))
        : all.map((g) => maxOver(abs(reshape(g, [g.size])))).reduce((most, one) => max(most, one)),
    );
    return { gradients: clipped(gradients, norm, maxNorm), norm };
  });
}

/** Gradients with the given norm, scaled down to `maxNorm` if it is larger. */
export function clipped(gradients: ParameterTree, norm: Tensor, maxNorm: number): ParameterTree {
  return scope(() => {
    const factor = min(div(maxNorm, add(norm, 1e-6)), 1);
    return Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, mul(g, factor)]));
  });
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

/** @throws TopKError INVALID_OPTION */
export function requirePositive(where: string, name: string, value: number): void {
  if (value > 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'a number above 0',
    got: String(value),
  });
}
