import { add, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { sinCos } from '../src/sin-cos.js';
import { backend } from './support/goldens.js';

const angles = Float64Array.from({ length: 2001 }, (_, at) => (at - 1000) * 0.0371);

test('sine and cosine, to 1e-13', async () => {
  const { sine, cosine } = sinCos()(tensor(backend, angles));
  const [s, c] = await Promise.all([sine.data(), cosine.data()]);
  for (const [at, angle] of angles.entries()) {
    expect(Math.abs((s[at] as number) - Math.sin(angle))).toBeLessThan(1e-13);
    expect(Math.abs((c[at] as number) - Math.cos(angle))).toBeLessThan(1e-13);
  }
});

test('in f32, to a few units of the last place of the angle', async () => {
  const x = tensor(createReferenceBackend(), angles);
  const { sine } = sinCos()(x);
  const [s, stored] = await Promise.all([sine.data(), x.data()]);
  for (const [at, angle] of stored.entries()) {
    expect(Math.abs((s[at] as number) - Math.sin(angle))).toBeLessThan(1e-6 + 3e-7 * Math.abs(angle));
  }
});

test('their gradients are each other', async () => {
  const x = tensor(backend, angles);
  const { gradients } = valueAndGrad((of: Tensor) => {
    const { sine, cosine } = sinCos(0.5)(of);
    return sum(add(sine, cosine));
  })(x);
  const g = await gradients.data();
  for (const [at, angle] of angles.entries()) {
    expect(g[at]).toBeCloseTo((Math.cos(angle) - Math.sin(angle)) / 2, 12);
  }
});

test.each([1, -1])('with an amplitude, and to the end of their range: a sign of %i', async (sign) => {
  const far = Float64Array.from({ length: 1000 }, (_, at) => sign * (at * 10.01 + 1e-9 * at));
  const { sine, cosine } = sinCos(3)(tensor(backend, far));
  const [s, c] = await Promise.all([sine.data(), cosine.data()]);
  for (const [at, angle] of far.entries()) {
    // The angle's own rounding.
    const tolerance = 1e-12 + 1e-15 * Math.abs(angle);
    expect(Math.abs((s[at] as number) - 3 * Math.sin(angle))).toBeLessThan(tolerance);
    expect(Math.abs((c[at] as number) - 3 * Math.cos(angle))).toBeLessThan(tolerance);
  }
});

test('small angles keep their digits in f32', async () => {
  const x = tensor(createReferenceBackend(), [1e-30, -1e-12, 3e-7, -2e-4]);
  const [s, stored] = await Promise.all([sinCos()(x).sine.data(), x.data()]);
  for (const [at, angle] of stored.entries()) {
    expect(Math.abs((s[at] as number) / Math.sin(angle) - 1)).toBeLessThan(5e-7);
  }
});

test('numbers beyond their range give waves of none', async () => {
  const x = tensor(createReferenceBackend(), [1.4e4, -2e4, 1e9, -3e38]);
  const { sine, cosine } = sinCos(2)(x);
  expect(Array.from(await sine.data(), Math.abs)).toEqual([0, 0, 0, 0]);
  expect(Array.from(await cosine.data())).toEqual([2, 2, 2, 2]);
});

test('of infinities and NaN nothing is finite', async () => {
  const x = tensor(backend, [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]);
  const { sine, cosine } = sinCos()(x);
  for (const one of [sine, cosine]) expect(Array.from(await one.data()).some(Number.isFinite)).toBe(false);
});

test('the gradient of one of them alone', async () => {
  const x = tensor(backend, angles);
  for (const [name, slope] of [
    ['sine', Math.cos],
    ['cosine', (angle: number) => -Math.sin(angle)],
  ] as const) {
    const { gradients } = valueAndGrad((of: Tensor) => sum(sinCos()(of)[name]))(x);
    const g = await gradients.data();
    for (const [at, angle] of angles.entries()) expect(g[at]).toBeCloseTo(slope(angle), 12);
  }
});
