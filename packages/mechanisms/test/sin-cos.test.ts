import { add, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { sinCos } from '../src/sin-cos.js';
import { backend } from './support/goldens.js';

const angles = Float64Array.from({ length: 2001 }, (_, at) => (at - 1000) * 0.0371);

test('sine and cosine, to 1e-13', async () => {
  const { sine, cosine } = sinCos(tensor(backend, angles));
  const [s, c] = await Promise.all([sine.data(), cosine.data()]);
  for (const [at, angle] of angles.entries()) {
    expect(Math.abs((s[at] as number) - Math.sin(angle))).toBeLessThan(1e-13);
    expect(Math.abs((c[at] as number) - Math.cos(angle))).toBeLessThan(1e-13);
  }
});

test('in f32, to a few units of the last place of the angle', async () => {
  const x = tensor(createReferenceBackend(), angles);
  const { sine } = sinCos(x);
  const [s, stored] = await Promise.all([sine.data(), x.data()]);
  for (const [at, angle] of stored.entries()) {
    expect(Math.abs((s[at] as number) - Math.sin(angle))).toBeLessThan(1e-6 + 3e-7 * Math.abs(angle));
  }
});

test('their gradients are each other', async () => {
  const x = tensor(backend, angles);
  const { gradients } = valueAndGrad((of: Tensor) => {
    const { sine, cosine } = sinCos(of);
    return sum(add(sine, cosine));
  })(x);
  const g = await gradients.data();
  for (const [at, angle] of angles.entries()) {
    expect(g[at]).toBeCloseTo(Math.cos(angle) - Math.sin(angle), 12);
  }
});
