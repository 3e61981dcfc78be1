import { cast, type Tensor, tensor } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { KeyValueCache } from '../src/index.js';
import { backend, counting } from './support/tensors.js';

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

  test('takes over what a recorded step has written, and nothing that does not fit', async () => {
    const before = backend.memory().live;
    const cache = new KeyValueCache(backend, { batch: 1, heads: 2, keyDim: 1, valueDim: 1, capacity: 2 });
    const written = (): Tensor => tensor(backend, [1, 0, 2, 0], [1, 2, 2, 1]);
    const [keys, values] = [written(), written()];
    cache.advance(1, keys, values);
    expect(cache.length).toBe(1);
    expect([...(await cache.keys.data())]).toEqual([1, 0, 2, 0]);
    cache.advance(0, cache.keys, cache.values);
    const row = token(7);
    cache.append(row, row);
    expect([...(await cache.values.data())]).toEqual([1, 7, 2, 7]);
    for (const [tokens, given] of [
      [1, written()],
      [0, row],
    ] as const) {
      expect(() => cache.advance(tokens, given, given)).toThrow(
        expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
      );
      given.dispose();
    }
    expect(cache.length).toBe(2);
    cache.dispose();
    expect(backend.memory().live).toBe(before);
  });

  test('rows move, are copied and left out', async () => {
    const before = backend.memory().live;
    const cache = new KeyValueCache(backend, { batch: 2, heads: 1, keyDim: 2, valueDim: 1, capacity: 2 });
    const [key, value] = [tensor(backend, [1, 2, 3, 4], [2, 1, 1, 2]), tensor(backend, [5, 6], [2, 1, 1, 1])];
    cache.append(key, value);
    key.dispose();
    value.dispose();
    cache.reorder([1, 0, 1]);
    expect(cache.length).toBe(1);
    expect(cache.keys.shape).toEqual([3, 1, 2, 2]);
    expect([...(await cache.keys.data())]).toEqual([3, 4, 0, 0, 1, 2, 0, 0, 3, 4, 0, 0]);
    expect([...(await cache.values.data())]).toEqual([6, 0, 5, 0, 6, 0]);
    for (const rows of [[3], [-1], [0.5]]) {
      expect(() => cache.reorder(rows)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    }
    cache.reorder([1]);
    expect([...(await cache.keys.data())]).toEqual([1, 2, 0, 0]);
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
