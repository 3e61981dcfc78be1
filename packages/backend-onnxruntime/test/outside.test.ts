import {
  gatherRows,
  putAlong,
  scatterAddRows,
  type Tensor,
  takeAlong,
  tensor,
  zeros,
} from '@topk-attention/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '../src/index.js';

let backend: OnnxRuntimeBackend;
beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const { NaN: nan } = Number;
const i32 = (data: readonly number[], shape: readonly number[]): Tensor =>
  tensor(backend, Int32Array.from(data), shape);
const read = async (x: Tensor): Promise<number[]> => [...(await x.data())];
const outside = [0, -1, 2, -2, 7, 2 ** 31 - 1, -(2 ** 31)];

describe('indices outside of a table', () => {
  test('gatherRows: -1 gives zeros, others NaN, never a row of the next batch entry', async () => {
    const x = tensor(backend, [1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2]);
    const rows = await read(gatherRows(x, i32([...outside, ...outside], [2, 7])));
    const bad = [0, 0, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan];
    expect(rows).toEqual([1, 2, ...bad, 5, 6, ...bad]);
  });

  test('gatherRows of integers and bools gives 0', async () => {
    const numbers = await read(gatherRows(i32([5, 6], [1, 2, 1]), i32(outside, [1, 7])));
    expect(numbers).toEqual([5, 0, 0, 0, 0, 0, 0]);
    const flags = tensor(backend, Uint8Array.of(1, 1), [1, 2, 1]);
    expect(await read(gatherRows(flags, i32(outside, [1, 7])))).toEqual([1, 0, 0, 0, 0, 0, 0]);
  });

  test('of a table without rows', async () => {
    expect(await read(gatherRows(zeros(backend, [1, 0, 2]), i32([-1, 0], [1, 2])))).toEqual([0, 0, nan, nan]);
    expect(await read(takeAlong(zeros(backend, [1, 0]), i32([-1, 0], [1, 2])))).toEqual([0, nan]);
    expect(await read(gatherRows(i32([], [1, 0, 1]), i32([-1, 0], [1, 2])))).toEqual([0, 0]);
  });

  test('takeAlong', async () => {
    const x = tensor(backend, [1, 2, 3, 4], [2, 2]);
    expect(await read(takeAlong(x, i32([1, -1, 2, 0, -2, 9], [2, 3])))).toEqual([2, 0, nan, 3, nan, nan]);
  });

  test('putAlong and scatterAddRows drop them', async () => {
    expect(
      await read(putAlong(i32([1, -1, 2, -5], [1, 4]), tensor(backend, [7, 8, 9, 10], [1, 4]), 2)),
    ).toEqual([0, 7]);
    const updates = tensor(backend, [1, 2, 4, 8, 16, 32, 64], [1, 7, 1]);
    expect(await read(scatterAddRows(2, i32(outside, [1, 7]), updates))).toEqual([1, 0]);
  });
});
