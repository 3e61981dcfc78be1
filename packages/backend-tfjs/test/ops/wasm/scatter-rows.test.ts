import { expect, test } from 'vitest';
import { engineOf } from '../../../src/index.js';
import { scatterRows } from '../../../src/ops/scatter-rows.js';
import { wasmTf } from '../../support/engines.js';

const tf = await wasmTf();
const engine = engineOf(tf);

// 2^24, to which a single f32 adds no ones, then a thousand ones.
const count = 1001;
const updates = tf.tensor2d(
  Float32Array.from({ length: count }, (_, at) => (at === 0 ? 2 ** 24 : 1)),
  [count, 1],
);

test('many updates of a row are added in f64', () => {
  const numbers = new Int32Array(count).fill(1);
  expect(Array.from(scatterRows(engine, numbers, updates, 3).dataSync())).toEqual([0, 2 ** 24 + 1000, 0]);
});

test('rows that nobody reads do not decide how the others are added', () => {
  const numbers = Int32Array.from({ length: count }, (_, at) => (at === count - 1 ? 0 : 1));
  const [read, unread, rest] = scatterRows(
    engine,
    numbers,
    updates,
    3,
    numbers.filter((row) => row === 0),
  ).dataSync();
  expect([read, rest]).toEqual([1, 0]);
  // In one f32: by the engine itself.
  expect(unread).toBe(2 ** 24);
});
