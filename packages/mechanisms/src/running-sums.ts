import {
  add,
  cast,
  concat,
  matmul,
  narrow,
  reshape,
  scope,
  sizeOf,
  type Tensor,
  zeros,
} from '@topk-attention/core';
import { isSeen } from './triangles.js';

/** Most entries whose sums are one product with a triangle, and those of a block where there are more: choices. */
const MOST = 256;
const BLOCK = 64;

/**
 * x [..., n] -> the sum of each entry and those before it: products with a triangle of ones, of blocks where the row is long.
 * Some passes over memory, where doubling distances takes several per doubling. For finite x.
 */
export function runningSums(x: Tensor): Tensor {
  const shape = x.shape;
  const length = shape.at(-1) as number;
  const rows = sizeOf(shape.slice(0, -1));
  return scope(() => reshape(sumsOfRows(reshape(x, [rows, length])), shape));
}

function sumsOfRows(x: Tensor): Tensor {
  const [rows, length] = x.shape as readonly [number, number];
  if (length <= MOST) return matmul(x, cast(isSeen(x.backend, length), x.dtype), { transposeB: true });
  const blocks = Math.ceil(length / BLOCK);
  return scope(() => {
    const blank = zeros(x.backend, [rows, blocks * BLOCK - length], x.dtype);
    const whole = blank.size === 0 ? x : concat([x, blank], 1);
    const within = scope(() =>
      reshape(sumsOfRows(reshape(whole, [rows * blocks, BLOCK])), [rows, blocks, BLOCK]),
    );
    const totals = scope(() => sumsOfRows(reshape(narrow(within, 2, BLOCK - 1, 1), [rows, blocks])));
    const before = concat([zeros(x.backend, [rows, 1], x.dtype), narrow(totals, 1, 0, blocks - 1)], 1);
    const sums = reshape(add(within, reshape(before, [rows, blocks, 1])), [rows, blocks * BLOCK]);
    return narrow(sums, 1, 0, length);
  });
}
