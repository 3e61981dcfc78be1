import { gatherRows, type Tensor, takeAlong, tensor, zeros } from '@topk-attention/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '../../src/index.js';

let backend: OnnxRuntimeBackend;
beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const { NaN: nan } = Number;
const i32 = (data: readonly number[], shape: readonly number[]): Tensor =>
  tensor(backend, Int32Array.from(data), shape);
const read = async (x: Tensor): Promise<number[]> => [...(await x.data())];

test('every index lies outside of a table without rows', async () => {
  expect(await read(gatherRows(zeros(backend, [1, 0, 2]), i32([-1, 0], [1, 2])))).toEqual([0, 0, nan, nan]);
  expect(await read(takeAlong(zeros(backend, [1, 0]), i32([-1, 0], [1, 2])))).toEqual([0, nan]);
  expect(await read(gatherRows(i32([], [1, 0, 1]), i32([-1, 0], [1, 2])))).toEqual([0, 0]);
});
