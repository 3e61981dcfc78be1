import type { Backend } from '../contract/backend.js';
import { TopKError } from '../contract/errors.js';
import { formatShape, normalizeAxis, sameShape, sizeOf } from '../contract/shape.js';
import { apply, commonBackend } from '../tensor/apply.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import { tapesTracking } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';
import { arange, zeros } from './create.js';
import { add, le, logicalAnd, lt, max, min, sub, where } from './elementwise.js';
import { reshape } from './layout.js';
import { gatherRows } from './select.js';

/**
 * dst with x written along an axis at a position that a tensor holds, so that a recorded step may write elsewhere in every
 * replay. A start below 0 counts as 0, one at which x would not fit as the last at which it does. Consumes dst, as
 * `writeInto` does, and reuses its storage where the backend can.
 *
 * @param x the extents of dst but for the axis
 * @param start i32 of one element
 * @throws TopKError SHAPE_MISMATCH, DTYPE_MISMATCH
 *
 * @example
 * const cache = writeAt(zeros(backend, [1, 8, 2]), tensor(backend, [1, 2], [1, 1, 2]), 1, tensor(backend, [5], [1], 'i32'));
 */
export function writeAt(dst: Tensor, x: Tensor, axis: number, start: Tensor): Tensor {
  for (const [name, one] of Object.entries({ dst, x, start })) requireTensor('writeAt', name, one);
  const along = normalizeAxis('writeAt', axis, dst.rank);
  requireFit(dst, x, along, start);
  const backend = commonBackend('writeAt', [dst, x, start]);
  const isTracked = tapesTracking([dst.value, x.value]).length > 0;
  const made =
    backend.writeAt === undefined || isTracked || x.size === 0
      ? composed(dst, x, along, start)
      : written(dst, x, along, start);
  dst.dispose();
  return made;
}

function written(dst: Tensor, x: Tensor, axis: number, start: Tensor): Tensor {
  const exclusive = dst.value.references === 1;
  const [y] = apply('writeAt', [dst, x, start], [dst], (backend, into, block, at) => [
    (backend as Required<Backend>).writeAt(into, block, axis, at, exclusive),
  ]);
  return y as Tensor;
}

/** Every row of dst, or the row of x that belongs there. */
function composed(dst: Tensor, x: Tensor, axis: number, start: Tensor): Tensor {
  const { backend, shape } = dst;
  const [extent, length] = [shape[axis] as number, x.shape[axis] as number];
  const outer = sizeOf(shape.slice(0, axis));
  const inner = sizeOf(shape.slice(axis + 1));
  if (x.size === 0) return dst.alias();
  return scope(() => {
    const first = min(max(reshape(start, [1, 1]), 0), extent - length);
    const row = sub(reshape(arange(backend, extent), [1, extent]), first);
    const isWritten = reshape(logicalAnd(le(0, row), lt(row, length)), [1, extent, 1]);
    const rows = add(zeros(backend, [outer, 1], 'i32'), min(max(row, 0), length - 1));
    const spread = gatherRows(reshape(x, [outer, length, inner]), rows);
    return reshape(where(isWritten, spread, reshape(dst, [outer, extent, inner])), shape);
  });
}

function requireFit(dst: Tensor, x: Tensor, axis: number, start: Tensor): void {
  if (dst.dtype !== x.dtype || start.dtype !== 'i32') {
    throw new TopKError('DTYPE_MISMATCH', 'writeAt: different dtypes', {
      expected: `${dst.dtype}, and a start of i32`,
      got: `${x.dtype}, and a start of ${start.dtype}`,
    });
  }
  const extent = dst.shape[axis] as number;
  const wanted = dst.shape.map((own, at) => (at === axis ? (x.shape[axis] ?? 0) : own));
  if (sameShape(x.shape, wanted) && (x.shape[axis] as number) <= extent && start.size === 1) return;
  throw new TopKError('SHAPE_MISMATCH', 'writeAt: the block or the start has the wrong shape', {
    expected: `at most ${extent} along axis ${axis} of ${formatShape(dst.shape)}, and one start`,
    got: `${formatShape(x.shape)}, and starts ${formatShape(start.shape)}`,
  });
}
