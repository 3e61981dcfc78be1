import { type Shape, sizeOf } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { type Initializer, initializers, linearLayer, t5Initializers } from '../../src/index.js';

const {
  kaimingNormal,
  kaimingUniform,
  lecunNormal,
  normal,
  orthogonal,
  truncNormal,
  uniform,
  xavierNormal,
  xavierUniform,
} = initializers;
const shape: Shape = [60, 200];

function momentsOf(initializer: Initializer): { mean: number; deviation: number; largest: number } {
  const values = initializer(shape, 11);
  expect(values.length).toBe(sizeOf(shape));
  const mean = values.reduce((all, one) => all + one, 0) / values.length;
  const variance = values.reduce((all, one) => all + (one - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance), largest: Math.max(...values.map(Math.abs)) };
}

describe('deviations are those of PyTorch', () => {
  const bounded = (bound: number): [number, number] => [bound / Math.sqrt(3), bound];
  test.each<[string, Initializer, [number, number?]]>([
    ['uniform', uniform(0.3), bounded(0.3)],
    ['normal', normal(0.02), [0.02]],
    ['xavierUniform', xavierUniform(2), bounded(2 * Math.sqrt(6 / 260))],
    ['xavierNormal', xavierNormal(), [Math.sqrt(2 / 260)]],
    ['kaimingUniform', kaimingUniform(), bounded(Math.sqrt(6 / 200))],
    ['kaimingUniform, slope', kaimingUniform({ slope: Math.sqrt(5) }), bounded(Math.sqrt(1 / 200))],
    ['kaimingNormal', kaimingNormal(), [Math.sqrt(2 / 200)]],
    ['lecunNormal', lecunNormal(), [Math.sqrt(1 / 200)]],
    ["T5's queries", t5Initializers(200, 16).attention.query, [(200 * 16) ** -0.5]],
    // The standard normal distribution between -2 and 2.
    ['truncNormal', truncNormal(), [0.8796, 2]],
    [
      "a linear layer's",
      linearLayer(200, 60).parameters.weight?.initializer ?? normal(9),
      bounded(200 ** -0.5),
    ],
  ])('%s', (_, initializer, [deviation, bound]) => {
    const moments = momentsOf(initializer);
    expect(Math.abs(moments.mean)).toBeLessThan((4 * deviation) / Math.sqrt(sizeOf(shape)));
    expect(moments.deviation / deviation).toBeCloseTo(1, 1.3);
    if (bound === undefined) return;
    expect(moments.largest).toBeLessThanOrEqual(bound);
    expect(moments.largest).toBeGreaterThan(0.99 * bound);
  });
});

test('equal seeds give equal values, others do not', () => {
  expect(normal()([5], 3)).toEqual(normal()([5], 3));
  expect(normal()([5], 3)).not.toEqual(normal()([5], 4));
});

test('truncNormal without a limit is normal', () => {
  expect(truncNormal(0.5, Number.POSITIVE_INFINITY)([5], 3)).toEqual(normal(0.5)([5], 3));
});

test.each([
  [3, 7],
  [7, 3],
])('orthogonal %i x %i', (rows, columns) => {
  const values = orthogonal(2)([rows, columns], 5);
  const [count, length] = rows <= columns ? [rows, columns] : [columns, rows];
  const at = (vector: number, element: number): number =>
    (rows <= columns ? values[vector * columns + element] : values[element * columns + vector]) as number;
  for (let a = 0; a < count; a++) {
    for (let b = 0; b <= a; b++) {
      let product = 0;
      for (let element = 0; element < length; element++) product += at(a, element) * at(b, element);
      expect(product).toBeCloseTo(a === b ? 4 : 0, 12);
    }
  }
});

test('a vector has no inputs and outputs', () => {
  expect(() => xavierUniform()([5], 1)).toThrow(expect.objectContaining({ code: 'RANK_MISMATCH' }));
  expect(() => truncNormal(1, 0)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});
