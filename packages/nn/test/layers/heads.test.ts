import { tensor } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { mergeHeads, splitHeads } from '../../src/index.js';
import { backend, counting } from '../support/tensors.js';

test('heads are split and merged', async () => {
  const x = counting(2, 3, 8);
  const heads = splitHeads(x, 2);
  expect(heads.shape).toEqual([2, 2, 3, 4]);
  expect([...(await heads.data())].slice(0, 12)).toEqual([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]);
  expect(await mergeHeads(heads).data()).toEqual(await x.data());
});

test.each<[string, string, () => unknown]>([
  ['splitHeads: 3 heads of 8', 'SHAPE_MISMATCH', () => splitHeads(counting(1, 2, 8), 3)],
  ['splitHeads: no heads', 'INVALID_OPTION', () => splitHeads(counting(1, 2, 8), 0)],
  ['splitHeads: half a head', 'INVALID_OPTION', () => splitHeads(counting(1, 2, 8), 0.5)],
  ['splitHeads: rank 2', 'RANK_MISMATCH', () => splitHeads(counting(2, 8), 2)],
  ['mergeHeads: rank 3', 'RANK_MISMATCH', () => mergeHeads(counting(2, 4, 2))],
])('%s: %s', (_, code, call) => {
  expect(call).toThrow(expect.objectContaining({ code }));
});

test('an empty batch is none', () => {
  const empty = tensor(backend, new Float32Array(0), [0, 3, 8]);
  expect(mergeHeads(splitHeads(empty, 2)).shape).toEqual([0, 3, 8]);
});
