import { arange, tensor } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { embedding } from '../../src/index.js';
import { backend, counting, nothing } from '../support/tensors.js';

test('embedding looks up rows', async () => {
  const y = embedding(counting(4, 2), tensor(backend, Int32Array.of(3, 0, 1, -1), [2, 2], 'i32'));
  expect(y.shape).toEqual([2, 2, 2]);
  expect([...(await y.data())]).toEqual([6, 7, 0, 1, 2, 3, 0, 0]);
});

test.each<[string, string, () => unknown]>([
  ['embedding: a table of rank 1', 'RANK_MISMATCH', () => embedding(counting(4), arange(backend, 2))],
  ['embedding: ids that are floats', 'DTYPE_MISMATCH', () => embedding(counting(4, 2), counting(2))],
  ['embedding: no ids', 'INVALID_OPTION', () => embedding(counting(4, 2), nothing)],
])('%s: %s', (_, code, call) => {
  expect(call).toThrow(expect.objectContaining({ code }));
});

test('an empty batch is none', () => {
  const ids = tensor(backend, new Int32Array(0), [0, 3], 'i32');
  expect(embedding(counting(4, 2), ids).shape).toEqual([0, 3, 2]);
});
