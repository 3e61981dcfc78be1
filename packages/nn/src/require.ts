import { type DType, describeValue, formatShape, Tensor, TopKError } from '@topk-attention/core';

/** @throws TopKError INVALID_OPTION for anything but a tensor, RANK_MISMATCH, DTYPE_MISMATCH. */
export function requireTensor(
  where: string,
  name: string,
  x: Tensor,
  { rank, dtype }: { readonly rank?: number; readonly dtype?: DType } = {},
): void {
  if (!(x instanceof Tensor)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
      expected: 'a Tensor from @topk-attention/core',
      got: describeValue(x),
      fix: 'Make one with tensor(backend, data, shape)',
    });
  }
  if (rank !== undefined && x.shape.length !== rank) {
    throw new TopKError('RANK_MISMATCH', `${where}: ${name} has the wrong rank`, {
      expected: String(rank),
      got: `${x.shape.length}, shape ${formatShape(x.shape)}`,
    });
  }
  if (dtype !== undefined && x.dtype !== dtype) {
    throw new TopKError('DTYPE_MISMATCH', `${where}: ${name} has the wrong dtype`, {
      expected: dtype,
      got: x.dtype,
    });
  }
}

/** @throws TopKError INVALID_OPTION */
export function requireWhole(where: string, name: string, value: number, minimum: number): void {
  if (Number.isSafeInteger(value) && value >= minimum) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: `a whole number of at least ${minimum}`,
    got: String(value),
  });
}

/** @throws TopKError INVALID_OPTION */
export function requirePositive(where: string, name: string, value: number): void {
  if (value > 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'a number above 0',
    got: String(value),
  });
}

/** @throws TopKError INVALID_OPTION unless low <= value < high. */
export function requireWithin(
  where: string,
  name: string,
  value: number,
  low: number,
  high: number = Number.POSITIVE_INFINITY,
): void {
  if (typeof value === 'number' && value >= low && value < high) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: high === Number.POSITIVE_INFINITY ? `at least ${low}` : `at least ${low} and below ${high}`,
    got: String(value),
  });
}
