import { TopKError } from '../contract/errors.js';
import { checkShape, formatShape, normalizeAxis, type Shape, sameShape, sizeOf } from '../contract/shape.js';
import { apply, commonBackend } from '../tensor/apply.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** The same elements in row-major order under another shape; one extent may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const resolved = resolveShape(x, shape);
  if (sameShape(resolved, x.shape)) return x.alias();
  const [y] = apply(
    'reshape',
    [x],
    [{ shape: resolved, dtype: x.dtype }],
    (backend, a) => [backend.reshape(a, resolved)],
    { save: () => [], backward: (ops, [g]) => [ops.reshape(g as Tensor, x.shape)] },
  );
  return y as Tensor;
}

/** Axis `a` of the result is axis `permutation[a]` of x. Default: all axes reversed. */
export function transpose(x: Tensor, permutation?: readonly number[]): Tensor {
  const order = (permutation ?? x.shape.map((_, axis) => x.rank - 1 - axis)).map((axis) =>
    normalizeAxis('transpose', axis, x.rank),
  );
  if (order.length !== x.rank || new Set(order).size !== x.rank) {
    throw new TopKError('INVALID_OPTION', 'transpose: not a permutation', {
      expected: `each axis of rank ${x.rank} once`,
      got: `[${order.join(', ')}]`,
    });
  }
  // Axes of extent 1 move without moving an element.
  const long = order.filter((axis) => x.shape[axis] !== 1);
  if (long.every((axis, index) => index === 0 || axis > (long[index - 1] as number))) {
    return reshape(
      x,
      order.map((axis) => x.shape[axis] as number),
    );
  }
  const inverse = order.map((_, axis) => order.indexOf(axis));
  const [y] = apply(
    'transpose',
    [x],
    [{ shape: order.map((axis) => x.shape[axis] as number), dtype: x.dtype }],
    (backend, a) => [backend.transpose(a, order)],
    { save: () => [], backward: (ops, [g]) => [ops.transpose(g as Tensor, inverse)] },
  );
  return y as Tensor;
}

/** The block of `sizes` elements that begins at `starts`. */
export function slice(x: Tensor, starts: readonly number[], sizes: Shape): Tensor {
  checkBlock('slice', x.shape, starts, sizes);
  if (sameShape(sizes, x.shape)) return x.alias();
  const [y] = apply(
    'slice',
    [x],
    [{ shape: sizes, dtype: x.dtype }],
    (backend, a) => [backend.slice(a, starts, sizes)],
    {
      save: () => [],
      backward: (ops, [g]) => [
        scope(() => ops.writeInto(ops.zeros(x.backend, x.shape, x.dtype), g as Tensor, starts)),
      ],
    },
  );
  return y as Tensor;
}

/** Slice of one axis: `length` entries from `start`. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  const along = normalizeAxis('narrow', axis, x.rank);
  return slice(
    x,
    x.shape.map((_, at) => (at === along ? start : 0)),
    x.shape.map((extent, at) => (at === along ? length : extent)),
  );
}

/** Joins tensors along an axis; all other extents are equal. */
export function concat(xs: readonly Tensor[], axis: number): Tensor {
  const first = xs[0];
  if (first === undefined) {
    throw new TopKError('INVALID_OPTION', 'concat: nothing to join', { expected: 'at least one tensor' });
  }
  commonBackend('concat', xs);
  const along = normalizeAxis('concat', axis, first.rank);
  for (const x of xs) {
    const fits =
      x.rank === first.rank && x.shape.every((extent, at) => at === along || extent === first.shape[at]);
    if (fits && x.dtype === first.dtype) continue;
    throw new TopKError('SHAPE_MISMATCH', 'concat: tensors do not match', {
      expected: `${first.dtype} ${formatShape(first.shape)} except along axis ${along}`,
      got: `${x.dtype} ${formatShape(x.shape)}`,
    });
  }
  if (xs.length === 1) return first.alias();
  const extents = xs.map((x) => x.shape[along] as number);
  const total = extents.reduce((a, b) => a + b, 0);
  const [y] = apply(
    'concat',
    xs,
    [{ shape: first.shape.map((extent, at) => (at === along ? total : extent)), dtype: first.dtype }],
    (backend, ...handles) => [backend.concat(handles, along)],
    {
      save: () => [],
      backward: (ops, [g]) => {
        let start = 0;
        return extents.map((extent) => {
          const part = ops.narrow(g as Tensor, along, start, extent);
          start += extent;
          return part;
        });
      },
    },
  );
  return y as Tensor;
}

/**
 * dst with x written at `starts`. Consumes dst: disposes the handle and, if the backend can (capability `inPlace`) and
 * nothing else holds it, reuses its storage; otherwise this is a copy.
 */
export function writeInto(dst: Tensor, x: Tensor, starts: readonly number[]): Tensor {
  checkBlock('writeInto', dst.shape, starts, x.shape);
  if (dst.dtype !== x.dtype) {
    throw new TopKError('DTYPE_MISMATCH', 'writeInto: different dtypes', {
      expected: dst.dtype,
      got: x.dtype,
    });
  }
  const exclusive = dst.value.references === 1;
  const [y] = apply(
    'writeInto',
    [dst, x],
    [dst],
    (backend, into, block) => [backend.writeInto(into, block, starts, exclusive)],
    {
      save: () => [],
      backward: (ops, [g]) => [
        scope(() => ops.writeInto((g as Tensor).alias(), ops.zeros(x.backend, x.shape, x.dtype), starts)),
        ops.slice(g as Tensor, starts, x.shape),
      ],
    },
  );
  dst.dispose();
  return y as Tensor;
}

function checkBlock(where: string, whole: Shape, starts: readonly number[], sizes: Shape): void {
  const fits =
    starts.length === whole.length &&
    sizes.length === whole.length &&
    whole.every((extent, axis) => {
      const start = starts[axis] as number;
      const size = sizes[axis] as number;
      return (
        Number.isInteger(start) && Number.isInteger(size) && start >= 0 && size >= 0 && start + size <= extent
      );
    });
  if (fits) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: the block lies outside the tensor`, {
    expected: `a block within ${formatShape(whole)}`,
    got: `starts ${formatShape(starts)}, sizes ${formatShape(sizes)}`,
  });
}

function resolveShape(x: Tensor, shape: Shape): Shape {
  const resolved = Array.isArray(shape) && shape.includes(-1) ? withFreeExtent(x, shape) : shape;
  checkShape('reshape', resolved);
  if (sizeOf(resolved) !== x.size) {
    throw new TopKError('SHAPE_MISMATCH', 'reshape: different number of elements', {
      expected: `${x.size} elements for ${formatShape(x.shape)}`,
      got: formatShape(shape),
    });
  }
  return resolved;
}

/** The shape with its -1 replaced by the extent that matches the number of elements. */
function withFreeExtent(x: Tensor, shape: Shape): Shape {
  const free = shape.indexOf(-1);
  const others = sizeOf(shape.filter((_, axis) => axis !== free));
  const extent = x.size / others;
  if (others > 0 && Number.isInteger(extent)) return shape.map((own, axis) => (axis === free ? extent : own));
  const isAmbiguous = others === 0 && x.size === 0;
  throw new TopKError(
    'SHAPE_MISMATCH',
    `reshape: -1 ${isAmbiguous ? 'is ambiguous' : 'cannot be filled in'}`,
    {
      expected: isAmbiguous
        ? 'an explicit extent: with another extent of 0, any number would do'
        : `at most one -1, and other extents that divide the ${x.size} elements of ${formatShape(x.shape)}`,
      got: formatShape(shape),
    },
  );
}
