import { type Tensor, TopKError } from '@topk-attention/core';

/** The rows of the last axis; the tensor is freed. @throws TopKError NAN_FOUND */
export async function readRows(where: string, x: Tensor): Promise<readonly Float64Array[]> {
  const width = x.shape.at(-1) as number;
  try {
    const values = Float64Array.from(await x.data(), Number);
    if (values.some(Number.isNaN)) {
      throw new TopKError('NAN_FOUND', `${where}: the model gave NaN`, {
        expected: 'numbers',
        got: 'NaN',
        fix: 'Check the weights: one of them may be NaN or too large',
      });
    }
    return Array.from({ length: values.length / width }, (_, row) =>
      values.subarray(row * width, (row + 1) * width),
    );
  } finally {
    x.dispose();
  }
}
