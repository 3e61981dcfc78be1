import { expect, test } from 'vitest';
import { attentionLayer, linearLayer, performer, summary, trainableExcept } from '../../src/index.js';

test('counts elements and bytes', () => {
  const { rows, count, trainable, bytes } = summary(linearLayer(3, 2));
  expect(rows).toEqual([
    { name: 'weight', shape: [2, 3], count: 6, bytes: 24, trainable: true },
    { name: 'bias', shape: [2], count: 2, bytes: 8, trainable: true },
  ]);
  expect({ count, trainable, bytes }).toEqual({ count: 8, trainable: 8, bytes: 32 });
});

test('is a table', () => {
  expect(String(summary(linearLayer(300, 20), (name) => name === 'bias'))).toBe(
    [
      'name    shape      count     bytes',
      'weight  [20, 300]   6000  23.4 KiB  frozen',
      'bias    [20]          20      80 B',
      'all                 6020  23.5 KiB  20 trainable',
    ].join('\n'),
  );
});

test('buffers and frozen names are not trainable', () => {
  const layer = attentionLayer({ width: 4, heads: 1, mechanism: performer({ features: 2 }) });
  expect(summary(layer).trainable).toBe(4 * (16 + 4));
  expect(summary(layer, trainableExcept(layer, '*.bias', 'q_proj.*')).trainable).toBe(3 * 16);
  expect(() => trainableExcept(layer, 'q_proj')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});

test('dots of a pattern are dots', () => {
  const layer = attentionLayer({ width: 4, heads: 1 });
  expect(() => trainableExcept(layer, 'q.proj*')).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION' }),
  );
});
