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

describe('bad input', () => {
  const f32 = (...shape: readonly number[]) => counting(...shape);
  const i32 = (...shape: readonly number[]) =>
    arange(
      backend,
      shape.reduce((a, b) => a * b, 1),
    );
  const nothing = undefined as unknown as Tensor;
  const list = [[1, 2]] as unknown as Tensor;

  test.each<[string, string, () => unknown]>([
    ['linear: x and w', 'SHAPE_MISMATCH', () => linear(f32(2, 3), f32(2, 3))],
    ['linear: w of rank 3', 'RANK_MISMATCH', () => linear(f32(2, 3), f32(1, 3, 2))],
    ['linear: a bias for another width', 'SHAPE_MISMATCH', () => linear(f32(2, 3), f32(3, 2), f32(3))],
    ['linear: a bias of one element', 'SHAPE_MISMATCH', () => linear(f32(2, 3), f32(3, 2), f32(1))],
    ['linear: a bias of rank 2', 'RANK_MISMATCH', () => linear(f32(2, 3), f32(3, 2), f32(2, 2))],
    ['linear: no w', 'INVALID_OPTION', () => linear(f32(2, 3), nothing)],
    ['linear: an array', 'INVALID_OPTION', () => linear(list, f32(2, 2))],
    ['embedding: a table of rank 1', 'RANK_MISMATCH', () => embedding(f32(4), i32(2))],
    ['embedding: ids that are floats', 'DTYPE_MISMATCH', () => embedding(f32(4, 2), f32(2))],
    ['embedding: no ids', 'INVALID_OPTION', () => embedding(f32(4, 2), nothing)],
    ['splitHeads: 3 heads of 8', 'SHAPE_MISMATCH', () => splitHeads(f32(1, 2, 8), 3)],
    ['splitHeads: no heads', 'INVALID_OPTION', () => splitHeads(f32(1, 2, 8), 0)],
    ['splitHeads: half a head', 'INVALID_OPTION', () => splitHeads(f32(1, 2, 8), 0.5)],
    ['splitHeads: rank 2', 'RANK_MISMATCH', () => splitHeads(f32(2, 8), 2)],
    ['mergeHeads: rank 3', 'RANK_MISMATCH', () => mergeHeads(f32(2, 4, 2))],
  ])('%s: %s', (_, code, call) => {
    expect(call).toThrow(expect.objectContaining({ code }));
  });

  test('an empty batch is none', () => {
    const empty = tensor(backend, new Float32Array(0), [0, 3, 8]);
    expect(linear(empty, f32(8, 2)).shape).toEqual([0, 3, 2]);
    expect(mergeHeads(splitHeads(empty, 2)).shape).toEqual([0, 3, 8]);
    expect(embedding(f32(4, 2), tensor(backend, new Int32Array(0), [0, 3], 'i32')).shape).toEqual([0, 3, 2]);
  });
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

  const options = { batch: 1, heads: 2, keyDim: 1, valueDim: 3 };

  test.each([
    ['a capacity of 0', { capacity: 0 }],
    ['half a key', { capacity: 1.5 }],
    ['no heads', { heads: 0 }],
    ['keys of no width', { keyDim: 0 }],
    ['a batch that is none', { batch: Number.NaN }],
  ])('%s is INVALID_OPTION', (_, changes) => {
    expect(() => new KeyValueCache(backend, { ...options, ...changes })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });

  test.each<[string, Tensor, Tensor]>([
    ['lengths that differ', counting(1, 2, 2, 1), counting(1, 2, 1, 3)],
    ['fewer heads', counting(1, 1, 1, 1), counting(1, 1, 1, 3)],
    ['fewer heads of the values', counting(1, 2, 1, 1), counting(1, 1, 1, 3)],
    ['a width that differs', counting(1, 2, 1, 1), counting(1, 2, 1, 2)],
    ['another batch', counting(2, 2, 1, 1), counting(2, 2, 1, 3)],
    ['another rank', counting(2, 1, 1), counting(2, 1, 3)],
    ['another dtype', counting(1, 2, 1, 1), cast(counting(1, 2, 1, 3), 'i32')],
  ])('%s: nothing is appended', async (_, keys, values) => {
    const cache = new KeyValueCache(backend, { ...options, capacity: 2 });
    expect(() => cache.append(keys, values)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/_MISMATCH$/) }),
    );
    expect(cache.length).toBe(0);
    expect(new Set(await cache.keys.data())).toEqual(new Set([0]));
    cache.append(counting(1, 2, 1, 1), counting(1, 2, 1, 3));
    expect(cache.length).toBe(1);
    cache.dispose();
  });

  test('room for what is no number of tokens is INVALID_OPTION', () => {
    const cache = new KeyValueCache(backend, options);
    for (const tokens of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => cache.reserve(tokens)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    }
    expect(cache.reserve(0)).toBe(false);
    cache.dispose();
  });

  test('is of no use after dispose()', () => {
    const cache = new KeyValueCache(backend, options);
    cache.dispose();
    const disposed = expect.objectContaining({ code: 'DISPOSED' });
    expect(() => cache.append(counting(1, 2, 1, 1), counting(1, 2, 1, 3))).toThrow(disposed);
    expect(() => cache.reserve(100)).toThrow(disposed);
  });
});
