import { arange, cast, reshape, scope, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { embedding, KeyValueCache, linear, mergeHeads, splitHeads } from '../src/index.js';

const backend = createReferenceBackend();
const counting = (...shape: readonly number[]): Tensor =>
  scope(() =>
    reshape(
      cast(
        arange(
          backend,
          shape.reduce((a, b) => a * b, 1),
        ),
        'f32',
      ),
      shape,
    ),
  );

test('linear is x w + bias', async () => {
  const w = tensor(backend, [1, 2, 3, 4, 5, 6], [2, 3]);
  const x = tensor(backend, [1, 10], [1, 1, 2]);
  const y = linear(x, w, tensor(backend, [100, 200, 300]));
  expect(y.shape).toEqual([1, 1, 3]);
  expect([...(await y.data())]).toEqual([141, 252, 363]);
  expect([...(await linear(x, w).data())]).toEqual([41, 52, 63]);
});

test('embedding looks up rows', async () => {
  const y = embedding(counting(4, 2), tensor(backend, Int32Array.of(3, 0, 1, -1), [2, 2], 'i32'));
  expect(y.shape).toEqual([2, 2, 2]);
  expect([...(await y.data())]).toEqual([6, 7, 0, 1, 2, 3, 0, 0]);
});

test('heads are split and merged', async () => {
  const x = counting(2, 3, 8);
  const heads = splitHeads(x, 2);
  expect(heads.shape).toEqual([2, 2, 3, 4]);
  expect([...(await heads.data())].slice(0, 12)).toEqual([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]);
  expect(await mergeHeads(heads).data()).toEqual(await x.data());
});

describe('KeyValueCache', () => {
  const token = (value: number): Tensor => tensor(backend, [value, value], [1, 2, 1, 1]);

  test('holds what was appended, grows by doubling, and frees everything', async () => {
    const before = backend.memory().live;
    const cache = new KeyValueCache(backend, { batch: 1, heads: 2, keyDim: 1, valueDim: 1, capacity: 2 });
    for (let value = 1; value <= 5; value++) {
      const grew = cache.reserve(1);
      expect(grew).toBe(value === 3 || value === 5);
      const [key, valueRow] = [token(value), token(-value)];
      cache.append(key, valueRow);
      key.dispose();
      valueRow.dispose();
      expect(cache.length).toBe(value);
    }
    expect(cache.capacity).toBe(8);
    expect(cache.keys.shape).toEqual([1, 2, 8, 1]);
    expect([...(await cache.keys.data())]).toEqual([1, 2, 3, 4, 5, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0]);
    expect([...(await cache.values.data())].map(Math.abs)).toEqual([...(await cache.keys.data())]);
    cache.dispose();
    cache.dispose();
    expect(backend.memory().live).toBe(before);
  });

  test('writes in place where the backend can', () => {
    const cache = new KeyValueCache(backend, { batch: 1, heads: 2, keyDim: 1, valueDim: 1 });
    const row = token(1);
    const live = backend.memory().live;
    backend.resetPeak();
    cache.append(row, row);
    expect(backend.memory()).toMatchObject({ live, peak: live });
    row.dispose();
    cache.dispose();
  });

  test('has no room beyond its capacity', () => {
    const cache = new KeyValueCache(backend, { batch: 1, heads: 2, keyDim: 1, valueDim: 1, capacity: 1 });
    cache.append(token(1), token(1));
    expect(() => cache.append(token(1), token(1))).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
  });
});
