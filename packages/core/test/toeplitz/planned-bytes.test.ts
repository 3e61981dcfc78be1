import { describe, expect, test } from 'vitest';
import { explainToeplitzProduct, fill, pullback, type Tensor, toeplitzProduct } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const cases: readonly (readonly [batch: number, heads: number, length: number, columns: number])[] = [
  [1, 1, 300, 1],
  [1, 4, 512, 1],
  [2, 2, 257, 3],
  [1, 4, 500, 16],
  [4, 1, 64, 33],
  [3, 2, 1, 40],
  [3, 2, 2, 40],
];

/** The plan's total against what the composed path really held at its worst moment. */
describe('planned bytes of Toeplitz products lie within 1.0 and 1.5 times the measured ones', () => {
  for (const dtype of ['f32', 'f16'] as const) {
    for (const [batch, heads, length, columns] of cases) {
      test(`${dtype}, B ${batch}, H ${heads}, n ${length}, C ${columns}`, () => {
        const backend = createReferenceBackend({ fused: false });
        const shapes = { factors: [heads, 2 * length - 1], x: [batch, heads, length, columns] };
        const inputs = {
          factors: fill(backend, 0.5, shapes.factors, dtype),
          x: fill(backend, 0.5, shapes.x, dtype),
        };
        const { plan, backward } = explainToeplitzProduct(backend, { ...shapes, dtype }, { training: true });
        const measured = (run: () => unknown): number => {
          const before = backend.memory().live;
          backend.resetPeak();
          run();
          return (backend.memory().peak ?? 0) - before;
        };
        const call = (p: typeof inputs): Tensor => toeplitzProduct(p.factors, p.x);
        const pulled = pullback(call, inputs);
        const cotangent = fill(backend, 0.5, shapes.x, dtype);
        const ratios = {
          forward: plan.bytes.total / measured(() => call(inputs).dispose()),
          back: (backward?.plan.bytes.total ?? 0) / measured(() => pulled.backward(cotangent)),
        };
        for (const [what, ratio] of Object.entries(ratios)) {
          expect(ratio, what).toBeGreaterThanOrEqual(1);
          expect(ratio, what).toBeLessThanOrEqual(1.5);
        }
      });
    }
  }
});
