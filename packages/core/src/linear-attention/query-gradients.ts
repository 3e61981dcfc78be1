import type { LinearAttentionRequest } from '../contract/linear-attention.js';
import { add, div, eq, le, logicalAnd, logicalNot, mul, neg, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { sum } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { finitePart, type SeenPairs, visiblePairs } from './pairs.js';
import { groupsOf, headsPerGroup, type KeyBlock } from './parts.js';
import type { KeySums } from './sums.js';

/** A block of queries in the backward pass. */
export interface RowBlock {
  /** phi(q) [N, g n, F] */
  readonly rows: Tensor;
  /** Gradients of the sums of weights times values: [N, g n, Dv]. */
  readonly dProducts: Tensor;
  /** [N, g, n, 1], if normalised; NaN if not finite, 0 for rows of zeros. */
  readonly denominators?: Tensor;
}

export interface QueryGradients {
  /** [N, g, n, F] */
  readonly features: Tensor;
  /** Of the sums of weights, [N, g, n, 1]; if normalised. */
  readonly weights?: Tensor;
}

/**
 * dphi(q_i) = a_i + h_i b_i with a_i = sum (g_i . v_j) phi(k_j) and b_i = sum phi(k_j) over the visible keys, g_i the row of
 * dProducts, and h_i = -(phi(q_i) . a_i) / d_i: the gradient of the sum of weights needs no output.
 *
 * @param own the keys of the block, with what its queries see of them; undefined if only earlier keys are seen
 */
export function queryGradients(
  request: LinearAttentionRequest,
  { rows, dProducts, denominators }: RowBlock,
  before: KeySums,
  own: (KeyBlock & SeenPairs) | undefined,
): QueryGradients {
  const { features: width } = request;
  const groups = groupsOf(request);
  const heads = headsPerGroup(request);
  const size = (rows.shape[1] as number) / heads;
  const shape = [groups, heads, size, width];
  return scope(() => {
    const earlier = (x: Tensor): Tensor =>
      own?.scales === undefined ? x : scope(() => mul(x, own.scales?.earlier as Tensor));
    const keys = own && finitePart(own.features);
    const a = scope(() => {
      const ofSums = earlier(reshape(matmul(dProducts, before.sums, { transposeB: true }), shape));
      if (own === undefined || keys === undefined) return ofSums;
      const pairs = visiblePairs(dProducts, own.values, own);
      return add(ofSums, reshape(matmul(reshape(pairs, [groups, heads * size, size]), keys), shape));
    });
    if (denominators === undefined) return { features: a };
    const b = scope(() => {
      const ofSums = earlier(reshape(before.total, [groups, 1, 1, width]));
      if (own === undefined || keys === undefined) return ofSums;
      const factors = own.scales ? reshape(own.scales.own, [groups, size, size]) : where(own.corner, 1, 0);
      return add(ofSums, reshape(matmul(factors, keys), [groups, 1, size, width]));
    });
    const weights = scope(() => {
      const along = sum(mul(reshape(rows, shape), a), { axes: [3], keepDims: true });
      return where(isConstant(request, denominators), 0, neg(div(along, denominators)));
    });
    return { features: add(a, mul(weights, b)), weights };
  });
}

/** bool: divisors that do not depend on the weights: of rows of zeros, and those raised to the least one. */
function isConstant({ leastDenominator }: LinearAttentionRequest, denominators: Tensor): Tensor {
  const isZero = eq(denominators, 0);
  if (leastDenominator === Number.NEGATIVE_INFINITY) return isZero;
  return logicalNot(logicalAnd(logicalNot(isZero), logicalNot(le(denominators, leastDenominator))));
}
