import { abs, add, cast, eq, lt, neg, where } from '../ops/elementwise.js';
import { matmul } from '../ops/matmul.js';
import { maxOver } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** The right-hand side of `partialProduct`, made once for several products. Tensors have the shape of x, f32. */
export interface PartialOperand {
  /** x with infinities as their signs, and NaN as 0. */
  readonly finite: Tensor;
  /** 1 where x is NaN or infinite, else 0. */
  readonly bad: Tensor;
  /** 1 for inf, -1 for -inf, else 0. */
  readonly signs: Tensor;
}

export function partialOperand(x: Tensor): PartialOperand {
  return scope(() => {
    const isFinite = finiteElements(x);
    const signs = scope(() => signsOf(eq(x, Number.POSITIVE_INFINITY), eq(x, Number.NEGATIVE_INFINITY)));
    const bad = where(isFinite, 0, 1);
    return { finite: where(isFinite, x, signs), bad, signs };
  });
}

/**
 * left x right in which only some pairs (row, inner) take part: a plain product multiplies the others by 0, and 0 * NaN
 * is NaN. Pairs that take part add up as in plain arithmetic: inf + 1 is inf, inf - inf and 0 * inf are NaN.
 *
 * `taken` has the shape of `left`, bool or 1 and 0; where it is false `left` is 0, or NaN in a row that is NaN
 * throughout. Two counts beside the product handle the rest: one of the bad elements that take part, one of infinities
 * by the sign of their terms.
 */
export function partialProduct(
  left: Tensor,
  taken: Tensor,
  right: PartialOperand,
  options: {
    readonly transposeA?: boolean;
    readonly transposeB?: boolean;
    /** True when `left` has no negative numbers, which saves work. Default false. */
    readonly isNonNegative?: boolean;
  } = {},
): Tensor {
  const { isNonNegative = false, ...transposed } = options;
  const times = (one: Tensor, other: Tensor): Tensor => matmul(one, other, transposed);
  return scope(() => {
    // Inner scopes: intermediates are as large as the result or `left`, and none may outlive its use.
    const rest = scope(() => {
      const bad = scope(() => times(cast(taken, 'f32'), right.bad));
      const kind = scope(() => {
        const signed = scope(() =>
          times(isNonNegative ? cast(lt(0, left), 'f32') : signsOf(lt(0, left), lt(left, 0)), right.signs),
        );
        const downwards = scope(() => where(eq(signed, neg(bad)), Number.NEGATIVE_INFINITY, Number.NaN));
        return where(eq(signed, bad), Number.POSITIVE_INFINITY, downwards);
      });
      return where(eq(bad, 0), 0, kind);
    });
    return add(times(left, right.finite), rest);
  });
}

/** x with NaN and infinities as 0. */
export function finitePart(x: Tensor): Tensor {
  return scope(() => where(finiteElements(x), x, 0));
}

/** bool [..., 1]: whether the row is free of NaN and infinities. */
export function finiteRows(x: Tensor): Tensor {
  return scope(() => {
    const bad = where(finiteElements(x), 0, 1);
    return eq(maxOver(bad, { axes: [-1], keepDims: true }), 0);
  });
}

/** bool: false for NaN and infinities. */
function finiteElements(x: Tensor): Tensor {
  // Strictly below infinity: no need to know any storage type's largest finite number.
  return scope(() => lt(abs(x), Number.POSITIVE_INFINITY));
}

/** f32: 1, -1 or 0. */
function signsOf(isPositive: Tensor, isNegative: Tensor): Tensor {
  return scope(() => where(isNegative, -1, cast(isPositive, 'f32')));
}
