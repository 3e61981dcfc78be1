import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { normalizeAxis, type Shape, sameShape, sizeOf } from '../contract/shape.js';
import { apply } from '../tensor/apply.js';
import { aBoolean, anArray, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { zeros } from './create.js';
import { add, cast, div, where } from './elementwise.js';
import { reshape } from './layout.js';

export interface ReduceOptions {
  /** Axes to reduce, negative ones from the end. Default: all. */
  readonly axes?: readonly number[];
  /** Keep reduced axes with extent 1. Default false. */
  readonly keepDims?: boolean;
}

const reduceKinds: OptionKinds<ReduceOptions> = { axes: anArray(), keepDims: aBoolean };

/** Sum over axes, in a fixed order. */
export function sum(x: Tensor, options?: ReduceOptions): Tensor {
  const { axes, kept, result } = reducedShapes('sum', x, options);
  if (axes.length === 0) return x.alias();
  const [y] = apply('sum', [x], [{ shape: kept, dtype: x.dtype }], (backend, a) => [backend.sum(a, axes)], {
    save: () => [],
    backward: (ops, [g]) => [ops.broadcastTo(g as Tensor, x.shape)],
  });
  return finish(y as Tensor, result);
}

/** Largest over axes; undefined with NaN, -inf over nothing. Equal maxima share the gradient. */
export function maxOver(x: Tensor, options?: ReduceOptions): Tensor {
  const { axes, kept, result } = reducedShapes('maxOver', x, options);
  if (axes.length === 0) return x.alias();
  const [y] = apply('max', [x], [{ shape: kept, dtype: x.dtype }], (backend, a) => [backend.max(a, axes)], {
    save: ([out]) => [x, out as Tensor],
    backward: (ops, [g], [input, output]) => [
      scope(() => {
        const isMax = ops.cast(ops.eq(input as Tensor, output as Tensor), x.dtype);
        return ops.mul(isMax, ops.div(g as Tensor, ops.sum(isMax, { axes, keepDims: true })));
      }),
    ],
  });
  return finish(y as Tensor, result);
}

/** Mean over axes. */
export function mean(x: Tensor, options?: ReduceOptions): Tensor {
  requireTensor('mean', 'x', x);
  if (!isFloat(x.dtype))
    throw new TopKError('DTYPE_MISMATCH', 'mean: wrong dtype', { expected: 'a float tensor', got: x.dtype });
  const { axes } = reducedShapes('mean', x, options);
  const count = sizeOf(axes.map((axis) => x.shape[axis] as number));
  return scope(() => div(sum(x, options), count));
}

/** x as a tensor of a larger shape that it broadcasts to. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  return scope(() =>
    x.dtype === 'bool'
      ? where(
          x,
          cast(add(zeros(x.backend, shape, 'i32'), 1), 'bool'),
          cast(zeros(x.backend, shape, 'i32'), 'bool'),
        )
      : add(x, zeros(x.backend, shape, x.dtype)),
  );
}

/** Sums x down to a shape it was broadcast from: the transpose of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x.alias();
  const extra = x.rank - shape.length;
  const axes = x.shape.flatMap((extent, axis) =>
    axis < extra || (shape[axis - extra] === 1 && extent !== 1) ? [axis] : [],
  );
  return scope(() => reshape(axes.length === 0 ? x : sum(x, { axes, keepDims: true }), shape));
}

function finish(kept: Tensor, result: Shape): Tensor {
  if (sameShape(kept.shape, result)) return kept;
  const reshaped = reshape(kept, result);
  kept.dispose();
  return reshaped;
}

function reducedShapes(
  name: string,
  x: Tensor,
  options: ReduceOptions | undefined,
): { axes: number[]; kept: Shape; result: Shape } {
  const given = readOptions(name, options, reduceKinds);
  requireTensor(name, 'x', x);
  if (x.dtype === 'bool') {
    throw new TopKError('DTYPE_MISMATCH', `${name}: wrong dtype`, {
      expected: 'a numeric dtype',
      got: 'bool',
      fix: 'Cast it first',
    });
  }
  const all = given.axes ?? x.shape.map((_, axis) => axis);
  const axes = [...new Set(all.map((axis) => normalizeAxis(name, axis, x.rank)))].sort((a, b) => a - b);
  const kept = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  const result = given.keepDims === true ? kept : x.shape.filter((_, axis) => !axes.includes(axis));
  return { axes, kept, result };
}
