import type { Backend } from '../contract/backend.js';
import { arange } from '../ops/create.js';
import { abs, add, le, lt, max, mul, where } from '../ops/elementwise.js';
import { narrow, reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { maxOver } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { KeyBlock } from './parts.js';
import { factorsTo } from './sums.js';

/** bool [size, size]: true where a query sees a key of its own block. */
export function lowerTriangle(backend: Backend, size: number): Tensor {
  return scope(() => {
    const places = arange(backend, size);
    return le(reshape(places, [1, size]), reshape(places, [size, 1]));
  });
}

/** The first rows and columns of the triangle, for a block that is shorter than the others. */
export function cornerOf(triangle: Tensor, size: number): Tensor {
  return scope(() => narrow(narrow(triangle, 0, 0, size), 1, 0, size));
}

/** Factors of a block's pairs where keys have log scales, relative to the largest one that the query sees. */
interface PairScales {
  /** [N, 1, n, n]: of the keys of the block; 0 where a query does not see a key. */
  readonly own: Tensor;
  /** [N, 1, n, 1]: of the sums over earlier keys. */
  readonly earlier: Tensor;
  /** [N, 1, n, 1]: the largest log scale that the query sees. */
  readonly peaks: Tensor;
}

/** What the queries of a block see of its keys. */
export interface SeenPairs {
  /** bool [n, n] */
  readonly corner: Tensor;
  /** With log scales. */
  readonly scales?: PairScales;
}

/**
 * @param corner bool [n, n]
 * @param logScales [N, n, 1], if keys have some
 * @param before [N, 1, 1]: the largest log scale of the earlier keys
 */
export function seenPairs(
  corner: Tensor,
  logScales: Tensor | undefined,
  before: Tensor | undefined,
): SeenPairs {
  const scales = logScales && before && pairScales(logScales, before, corner);
  return { corner, ...(scales && { scales }) };
}

function pairScales(logScales: Tensor, before: Tensor, corner: Tensor): PairScales {
  const [groups, size] = logScales.shape as readonly [number, number, number];
  return scope(() => {
    const across = reshape(logScales, [groups, 1, 1, size]);
    const old = reshape(before, [groups, 1, 1, 1]);
    const peaks = scope(() => {
      const seen = where(corner, across, Number.NEGATIVE_INFINITY);
      return max(old, maxOver(seen, { axes: [3], keepDims: true }));
    });
    // Where a key is not seen its factor may be infinite.
    const own = scope(() => where(corner, factorsTo(across, peaks), 0));
    return { own, earlier: factorsTo(old, peaks), peaks };
  });
}

/**
 * left right^T of a block [N, g, n, n] where a query sees the key, else 0, times the factors.
 *
 * @param left [N, g n, width]
 * @param right [N, n, width]
 * @param added [N, g, n, 1], added to all pairs before
 */
export function visiblePairs(
  left: Tensor,
  right: Tensor,
  { corner, scales }: SeenPairs,
  added?: Tensor,
): Tensor {
  const [groups, rows] = left.shape as readonly [number, number, number];
  const size = right.shape[1] as number;
  return scope(() => {
    const products = scope(() => {
      const all = reshape(matmul(left, right, { transposeB: true }), [groups, rows / size, size, size]);
      return added === undefined ? all : add(all, added);
    });
    const scaled = scales === undefined ? products : mul(products, scales.own);
    return where(corner, scaled, 0);
  });
}

/** x with NaN and infinities as 0, for products in which most pairs have the factor 0. */
export function finitePart(x: Tensor): Tensor {
  return scope(() => where(lt(abs(x), Number.POSITIVE_INFINITY), x, 0));
}

/** 0, and NaN where a row [..., width] holds a NaN or an infinity: [..., 1]. */
export function nanOfRows(x: Tensor): Tensor {
  return scope(() => {
    const bad = where(lt(abs(x), Number.POSITIVE_INFINITY), 0, 1);
    return where(lt(0, maxOver(bad, { axes: [-1], keepDims: true })), Number.NaN, 0);
  });
}

/**
 * Products of a block's weights with its values, [N, g, n, Dv]. A NaN or an infinity in a value makes that column NaN for
 * the queries that see the key, and touches no query before it.
 *
 * @param weights [N, g, n, n], 0 where a query does not see a key
 */
export function weighedValues(weights: Tensor, { values, corner }: KeyBlock & SeenPairs): Tensor {
  const [groups, heads, size] = weights.shape as readonly [number, number, number, number];
  const width = values.shape[2] as number;
  return scope(() => {
    const bad = scope(() => {
      const seen = scope(() => {
        const marks = scope(() => where(lt(abs(values), Number.POSITIVE_INFINITY), 0, 1));
        return matmul(where(corner, 1, 0), marks);
      });
      return reshape(where(lt(0, seen), Number.NaN, 0), [groups, 1, size, width]);
    });
    const products = scope(() => matmul(reshape(weights, [groups, heads * size, size]), finitePart(values)));
    return add(reshape(products, [groups, heads, size, width]), bad);
  });
}
