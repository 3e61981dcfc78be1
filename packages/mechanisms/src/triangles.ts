import { arange, type Backend, le, lt, reshape, scope, type Tensor } from '@topk-attention/core';

/** bool [rows, columns]: where column < row, for rows that count from `from`. */
export function isBefore(backend: Backend, rows: number, columns: number, from = 0): Tensor {
  return scope(() =>
    lt(reshape(arange(backend, columns), [1, columns]), reshape(arange(backend, rows, from), [rows, 1])),
  );
}

/** bool [n, n]: where a token sees another one, itself and those before it. */
export function isSeen(backend: Backend, n: number): Tensor {
  return scope(() => {
    const places = arange(backend, n);
    return le(reshape(places, [1, n]), reshape(places, [n, 1]));
  });
}
