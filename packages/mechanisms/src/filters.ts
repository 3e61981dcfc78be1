import {
  add,
  concat,
  div,
  lt,
  max,
  maxOver,
  min,
  mul,
  narrow,
  reshape,
  sub,
  type Tensor,
  TopKError,
  where,
  zeros,
} from '@topk-attention/core';

/**
 * Correlation along the tokens, with one kernel per head for all channels: x [B, H, L, d], kernel [H, w] -> [B, H, L, d].
 * Outside the text there are zeros; an even kernel reaches one token farther to the right, as in PyTorch.
 */
export function filtered(x: Tensor, kernel: Tensor): Tensor {
  const [batch, heads, length, dim] = x.shape as readonly [number, number, number, number];
  const width = kernel.shape[1] as number;
  const left = Math.floor((width - 1) / 2);
  const blank = (count: number): readonly Tensor[] =>
    count === 0 ? [] : [zeros(x.backend, [batch, heads, count, dim], x.dtype)];
  const padded = concat([...blank(left), x, ...blank(width - 1 - left)], 2);
  const part = (at: number): Tensor =>
    mul(narrow(padded, 2, at, length), reshape(narrow(kernel, 1, at, 1), [1, heads, 1, 1]));
  let total = part(0);
  for (let at = 1; at < width; at++) total = add(total, part(at));
  return total;
}

/** Windows of `width` tokens, `stride` apart, that fit into a text. */
export interface Windows {
  readonly width: number;
  readonly stride: number;
}

/**
 * The largest of each window: x [B, H, L, d] -> [B, H, floor((L - width) / stride) + 1, d].
 *
 * @param x -inf at padding
 * @throws TopKError SHAPE_MISMATCH for a text shorter than a window.
 */
export function pooledMax(x: Tensor, { width, stride }: Windows): Tensor {
  const [batch, heads, length, dim] = x.shape as readonly [number, number, number, number];
  if (length < width) {
    throw new TopKError('SHAPE_MISMATCH', 'convLunaBlock: a text shorter than a window', {
      expected: `at least ${width} tokens`,
      got: String(length),
      fix: 'Pad the texts, with keyLengths',
    });
  }
  const count = Math.floor((length - width) / stride) + 1;
  const windows = Array.from({ length: count }, (_, at) =>
    reshape(narrow(x, 2, at * stride, width), [batch, heads, 1, width, dim]),
  );
  return maxOver(concat(windows, 2), { axes: [3] });
}

/** Whole windows of texts of these lengths, i32 [B]; one for a shorter text, none for an empty one. */
export function windowCounts(lengths: Tensor, { width, stride }: Windows): Tensor {
  const whole = add(div(sub(lengths, width), stride), 1);
  return where(lt(0, lengths), max(whole, 1), min(lengths, 0));
}
