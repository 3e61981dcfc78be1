import { tensor } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { linear } from '../../src/index.js';
import { backend, counting, list, nothing } from '../support/tensors.js';

test('linear is x w + bias', async () => {
  const w = tensor(backend, [1, 2, 3, 4, 5, 6], [2, 3]);
  const x = tensor(backend, [1, 10], [1, 1, 2]);
  const y = linear(x, w, tensor(backend, [100, 200, 300]));
  expect(y.shape).toEqual([1, 1, 3]);
  expect([...(await y.data())]).toEqual([141, 252, 363]);
  expect([...(await linear(x, w).data())]).toEqual([41, 52, 63]);
});

test.each<[string, string, () => unknown]>([
  ['linear: x and w', 'SHAPE_MISMATCH', () => linear(counting(2, 3), counting(2, 3))],
  ['linear: w of rank 3', 'RANK_MISMATCH', () => linear(counting(2, 3), counting(1, 3, 2))],
  [
    'linear: a bias for another width',
    'SHAPE_MISMATCH',
    () => linear(counting(2, 3), counting(3, 2), counting(3)),
  ],
  [
    'linear: a bias of one element',
    'SHAPE_MISMATCH',
    () => linear(counting(2, 3), counting(3, 2), counting(1)),
  ],
  ['linear: a bias of rank 2', 'RANK_MISMATCH', () => linear(counting(2, 3), counting(3, 2), counting(2, 2))],
  ['linear: no w', 'INVALID_OPTION', () => linear(counting(2, 3), nothing)],
  ['linear: an array', 'INVALID_OPTION', () => linear(list, counting(2, 2))],
])('%s: %s', (_, code, call) => {
  expect(call).toThrow(expect.objectContaining({ code }));
});

test('an empty batch is none', () => {
  const empty = tensor(backend, new Float32Array(0), [0, 3, 8]);
  expect(linear(empty, counting(8, 2)).shape).toEqual([0, 3, 2]);
});
