import type { Tensor } from '@topk-attention/core';

/** The rows of the last axis; the tensor is freed. */
export async function readRows(x: Tensor): Promise<readonly (readonly number[])[]> {
  const width = x.shape.at(-1) as number;
  try {
    const values = Array.from(await x.data(), Number);
    return Array.from({ length: values.length / width }, (_, row) =>
      values.slice(row * width, (row + 1) * width),
    );
  } finally {
    x.dispose();
  }
}
