import { describe, expect, test } from 'vitest';
import {
  explainLinearAttention,
  fill,
  type LinearAttentionOptions,
  linearAttention,
  pullback,
  type Tensor,
  tensor,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

interface Case {
  readonly length: number;
  readonly features: number;
  readonly dim: number;
  readonly causal: boolean;
  readonly keyHeads?: number;
  readonly extra?: 'keyLengths' | 'keyLogScale' | 'signs';
}

const heads = 4;
const cases: readonly Case[] = [
  { length: 512, features: 32, dim: 16, causal: false },
  { length: 512, features: 32, dim: 16, causal: true },
  { length: 512, features: 128, dim: 32, causal: false, extra: 'keyLengths' },
  { length: 512, features: 128, dim: 32, causal: true, extra: 'keyLengths' },
  { length: 300, features: 64, dim: 64, causal: true, keyHeads: 1 },
  { length: 300, features: 64, dim: 64, causal: true, extra: 'keyLogScale' },
  { length: 300, features: 64, dim: 64, causal: false, extra: 'keyLogScale' },
  { length: 300, features: 16, dim: 64, causal: true, extra: 'signs' },
];

/** The plan's total against what the composed path really held at its worst moment. */
describe('planned bytes of linear attention lie within 1.0 and 1.5 times the measured ones', () => {
  for (const { length, features, dim, causal, keyHeads = heads, extra } of cases) {
    for (const chunk of [16, 64, 256, 512]) {
      test(`L ${length}, F ${features}, D ${dim}, causal ${causal}, key heads ${keyHeads}, chunk ${chunk}, ${extra}`, () => {
        const backend = createReferenceBackend({ fused: false });
        const make = (...shape: number[]): Tensor => fill(backend, 0.5, shape);
        const inputs = {
          q: make(1, heads, length, features),
          k: make(1, keyHeads, length, features),
          v: make(1, keyHeads, length, dim),
        };
        const options: Omit<LinearAttentionOptions, 'state' | 'returnState'> = {
          ...{ causal, chunk },
          ...(extra === 'keyLengths' && { keyLengths: tensor(backend, Int32Array.of(length - 3)) }),
          ...(extra === 'keyLogScale' && { keyLogScale: make(1, keyHeads, length) }),
          ...(extra === 'signs' && { normalise: false }),
        };
        const shapes = { queryFeatures: inputs.q.shape, keyFeatures: inputs.k.shape, value: inputs.v.shape };
        const { plan, backward } = explainLinearAttention(backend, shapes, { ...options, training: true });
        const measured = (run: () => unknown): number => {
          const before = backend.memory().live;
          backend.resetPeak();
          run();
          return (backend.memory().peak ?? 0) - before;
        };
        const call = (p: typeof inputs): Tensor => linearAttention(p.q, p.k, p.v, options);
        const inferred = explainLinearAttention(backend, shapes, options).plan.bytes.total;
        const inference = inferred / measured(() => call(inputs).dispose());
        let pulled = undefined as
          | { readonly output: Tensor; backward(cotangent: Tensor): unknown }
          | undefined;
        const training =
          plan.bytes.total /
          measured(() => {
            pulled = pullback(call, inputs);
          });
        const cotangent = make(1, heads, length, dim);
        const { bytes } = (backward as NonNullable<typeof backward>).plan;
        // The divisors were there before.
        const back = (bytes.total - bytes.saved) / measured(() => pulled?.backward(cotangent));
        for (const [what, ratio] of Object.entries({ inference, training, back })) {
          expect(ratio, what).toBeGreaterThanOrEqual(1);
          expect(ratio, what).toBeLessThanOrEqual(1.5);
        }
      });
    }
  }
});
