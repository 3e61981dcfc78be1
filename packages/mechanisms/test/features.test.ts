import { sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { unit } from '../src/features.js';

describe.each([
  ['f32', createReferenceBackend(), 6],
  ['f64', createReferenceBackend({ floatStorage: 'f64' }), 7],
] as const)('in %s', (_, backend, digits) => {
  test('short tokens have a length of 1 too', async () => {
    const made = await unit(tensor(backend, Float64Array.of(0.003, 0.004, 300, 400), [2, 2])).data();
    for (const [at, number] of [0.6, 0.8, 0.6, 0.8].entries()) {
      // 1e-12 beside a square of 2.5e-5.
      expect(made[at]).toBeCloseTo(number, digits);
    }
  });

  test('zeros stay zeros, where the gradient is 1e6 times the output', async () => {
    const zeros = tensor(backend, new Float64Array(3), [1, 3]);
    expect(Array.from(await unit(zeros).data())).toEqual([0, 0, 0]);
    const { gradients } = valueAndGrad((of: Tensor) => sum(unit(of, 2)))(zeros);
    for (const slope of await gradients.data()) expect(slope / 2e6).toBeCloseTo(1, 5);
  });
});
