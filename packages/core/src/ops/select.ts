import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { formatShape, sameShape } from '../contract/shape.js';
import { apply } from '../tensor/apply.js';
import { describeValue } from '../tensor/describe-value.js';
import type { Operations } from '../tensor/operations.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { mul, sub } from './elementwise.js';
import { sum } from './reduce.js';

/** Over the last axis. A row of all -inf gives zeros; a row with NaN or +inf gives NaN throughout. */
export function softmax(x: Tensor): Tensor {
  requireFloatRows('softmax', x);
  const [y] = apply('softmax', [x], [x], (backend, a) => [backend.softmax(a)], {
    save: ([out]) => [out as Tensor],
    backward: (ops, [g], [out]) => [scope(() => ops.softmaxGradient(g as Tensor, out as Tensor))],
  });
  return y as Tensor;
}

/** dX = P * (dP - sum_j P_j dP_j), paper section "backward". */
export function softmaxGradient(dP: Tensor, p: Tensor): Tensor {
  return scope(() => mul(p, sub(dP, sum(mul(p, dP), { axes: [-1], keepDims: true }))));
}

/**
 * The k largest entries above -inf of each row of the last axis. At the boundary the lower index wins; kept entries
 * come in ascending index order, unused slots last with value -inf and index -1. x must hold no NaN.
 *
 * @throws TopKError INVALID_K unless k is a whole number from 1 to the extent of the last axis.
 */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  requireFloatRows('topK', x);
  const n = x.shape.at(-1) as number;
  if (!Number.isInteger(k) || k < 1 || k > n) {
    throw new TopKError('INVALID_K', 'topK: k out of range', {
      expected: `a whole number from 1 to ${n}`,
      got: describeValue(k),
    });
  }
  const shape = [...x.shape.slice(0, -1), k];
  const [values, indices] = apply(
    'topK',
    [x],
    [
      { shape, dtype: x.dtype },
      { shape, dtype: 'i32' },
    ],
    (backend, a) => {
      const kept = backend.topK(a, k);
      return [kept.values, kept.indices];
    },
    {
      save: ([, kept]) => [kept as Tensor],
      backward: (ops, [g], [kept]) => [g === undefined ? undefined : ops.putAlong(kept as Tensor, g, n)],
    },
  );
  return { values: values as Tensor, indices: indices as Tensor };
}

/**
 * result[..., j] = x[..., indices[..., j]] over the last axis; leading dims are equal; index -1 gives 0, any other index
 * outside x NaN (0 in i32 and bool).
 * The gradient is valid only if the indices of a row are distinct.
 */
export function takeAlong(x: Tensor, indices: Tensor): Tensor {
  requireTensor('takeAlong', 'x', x);
  requireIndices('takeAlong', indices);
  if (!sameShape(x.shape.slice(0, -1), indices.shape.slice(0, -1)) || x.rank === 0) {
    throw new TopKError('SHAPE_MISMATCH', 'takeAlong: leading dims differ', {
      expected: formatShape(x.shape.slice(0, -1)),
      got: formatShape(indices.shape.slice(0, -1)),
    });
  }
  const [y] = apply(
    'takeAlong',
    [x, indices],
    [{ shape: indices.shape, dtype: x.dtype }],
    (backend, a, at) => [backend.takeAlong(a, at)],
    {
      save: () => [indices],
      backward: (ops, [g], [at]) => [
        ops.putAlong(at as Tensor, g as Tensor, x.shape.at(-1) as number),
        undefined,
      ],
    },
  );
  return y as Tensor;
}

/** Zeros of last extent n with values[..., j] put at indices[..., j], distinct per row; those outside are dropped. */
export function putAlong(indices: Tensor, values: Tensor, n: number): Tensor {
  requireTensor('putAlong', 'values', values);
  requireIndices('putAlong', indices);
  if (!sameShape(indices.shape, values.shape) || indices.rank === 0) {
    throw new TopKError('SHAPE_MISMATCH', 'putAlong: indices and values differ in shape', {
      expected: formatShape(indices.shape),
      got: formatShape(values.shape),
    });
  }
  const [y] = apply(
    'putAlong',
    [indices, values],
    [{ shape: [...indices.shape.slice(0, -1), n], dtype: values.dtype }],
    (backend, at, v) => [backend.putAlong(at, v, n)],
    {
      save: () => [indices],
      backward: (ops, [g], [at]) => [
        undefined,
        scope(() => ops.takeAlong(g as Tensor, dropOutside(ops, at as Tensor, n))),
      ],
    },
  );
  return y as Tensor;
}

/** x [B, N, D], indices i32 [B, M] -> [B, M, D]; index -1 gives zeros, any other outside x NaN (0 in i32 and bool). */
export function gatherRows(x: Tensor, indices: Tensor): Tensor {
  requireTensor('gatherRows', 'x', x);
  requireIndices('gatherRows', indices);
  const [batch, rows, width] = x.shape;
  if (x.rank !== 3 || indices.rank !== 2 || indices.shape[0] !== batch) {
    throw new TopKError('SHAPE_MISMATCH', 'gatherRows: incompatible shapes', {
      expected: 'x [B, N, D] and indices [B, M]',
      got: `${formatShape(x.shape)} and ${formatShape(indices.shape)}`,
    });
  }
  const [y] = apply(
    'gatherRows',
    [x, indices],
    [{ shape: [...indices.shape, width as number], dtype: x.dtype }],
    (backend, a, at) => [backend.gatherRows(a, at)],
    {
      save: () => [indices],
      backward: (ops, [g], [at]) => [
        ops.scatterAddRows(rows as number, at as Tensor, g as Tensor),
        undefined,
      ],
    },
  );
  return y as Tensor;
}

/** indices i32 [B, M], updates [B, M, D] -> [B, n, D]: the sum of the updates of each row; indices outside are dropped. */
export function scatterAddRows(n: number, indices: Tensor, updates: Tensor): Tensor {
  requireTensor('scatterAddRows', 'updates', updates);
  requireIndices('scatterAddRows', indices);
  if (updates.rank !== 3 || !sameShape(indices.shape, updates.shape.slice(0, 2))) {
    throw new TopKError('SHAPE_MISMATCH', 'scatterAddRows: incompatible shapes', {
      expected: 'indices [B, M] and updates [B, M, D]',
      got: `${formatShape(indices.shape)} and ${formatShape(updates.shape)}`,
    });
  }
  const [y] = apply(
    'scatterAddRows',
    [indices, updates],
    [{ shape: [updates.shape[0] as number, n, updates.shape[2] as number], dtype: updates.dtype }],
    (backend, at, u) => [backend.scatterAddRows(n, at, u)],
    {
      save: () => [indices],
      backward: (ops, [g], [at]) => [
        undefined,
        scope(() => ops.gatherRows(g as Tensor, dropOutside(ops, at as Tensor, n))),
      ],
    },
  );
  return y as Tensor;
}

/** The indices, with -1 for those outside [0, n): dropped values have no gradient. */
function dropOutside(ops: Operations, indices: Tensor, n: number): Tensor {
  return ops.where(ops.logicalAnd(ops.lt(-1, indices), ops.lt(indices, n)), indices, -1);
}

function requireIndices(where: string, indices: Tensor): void {
  requireTensor(where, 'indices', indices);
  if (indices.dtype === 'i32') return;
  throw new TopKError('DTYPE_MISMATCH', `${where}: indices have the wrong dtype`, {
    expected: 'i32',
    got: indices.dtype,
  });
}

function requireFloatRows(where: string, x: Tensor): void {
  requireTensor(where, 'x', x);
  if (isFloat(x.dtype) && x.rank > 0) return;
  throw new TopKError('DTYPE_MISMATCH', `${where}: wrong input`, {
    expected: 'a float tensor of rank 1 or more',
    got: `${x.dtype} ${formatShape(x.shape)}`,
  });
}
