import { custom, narrow, type Tensor, zeros } from '@topk-attention/core';

/**
 * x cut along an axis into pieces of `size`, the last one maybe smaller. One operation: the gradient of slices one by one
 * would be as many tensors of the size of x.
 */
export function piecesOf(x: Tensor, axis: number, size: number): readonly Tensor[] {
  const extent = x.shape[axis] as number;
  if (size >= extent) return [x];
  return custom(
    'piecesOf',
    [x],
    () => {
      const starts = Array.from({ length: Math.ceil(extent / size) }, (_, at) => at * size);
      return {
        outputs: starts.map((start) => narrow(x, axis, start, Math.min(size, extent - start))),
        saved: [],
      };
    },
    (ops, cotangents) => [
      ops.concat(
        cotangents.map((g, at) => g ?? blank(x, axis, Math.min(size, extent - at * size))),
        axis,
      ),
    ],
  );
}

function blank({ backend, shape, dtype }: Tensor, axis: number, extent: number): Tensor {
  return zeros(
    backend,
    shape.map((one, at) => (at === axis ? extent : one)),
    dtype,
  );
}
