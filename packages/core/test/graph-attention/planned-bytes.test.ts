import { describe, expect, test } from 'vitest';
import {
  explainGraphAttention,
  fill,
  type GraphAttentionOptions,
  graphAttention,
  pullback,
  type Tensor,
  tensor,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

interface Case {
  readonly length: number;
  readonly dim: number;
  readonly entries: number;
  readonly graphHeads?: number;
  readonly extra?: 'causal' | 'keyLengths' | 'bias' | 'keyMask';
}

const heads = 4;
const cases: readonly Case[] = [
  { length: 256, dim: 16, entries: 16 },
  { length: 256, dim: 64, entries: 8, graphHeads: 4 },
  { length: 200, dim: 16, entries: 64, extra: 'causal' },
  { length: 200, dim: 16, entries: 64, graphHeads: 4, extra: 'keyLengths' },
  { length: 256, dim: 32, entries: 16, extra: 'bias' },
  { length: 256, dim: 32, entries: 16, extra: 'keyMask' },
];

/** The plan's total against what the composed path really held at its worst moment. */
describe('planned bytes of attention over a graph lie within 1.0 and 1.5 times the measured ones', () => {
  for (const { length, dim, entries, graphHeads = 1, extra } of cases) {
    for (const queryChunk of [16, 64, 512]) {
      test(`L ${length}, D ${dim}, M ${entries}, graph heads ${graphHeads}, chunk ${queryChunk}, ${extra}`, () => {
        const backend = createReferenceBackend({ fused: false });
        const make = (...shape: number[]): Tensor => fill(backend, 0.5, shape);
        const [q, k, v] = [0, 1, 2].map(() => make(1, heads, length, dim)) as [Tensor, Tensor, Tensor];
        const shape = [1, graphHeads, length, entries];
        const numbers = Int32Array.from(
          { length: graphHeads * length * entries },
          (_, at) => (7 * at) % length,
        );
        const graph = tensor(backend, numbers, shape);
        const options: GraphAttentionOptions = {
          queryChunk,
          ...(extra === 'causal' && { causal: true }),
          ...(extra === 'keyLengths' && { keyLengths: tensor(backend, Int32Array.of(length - 3)) }),
          ...(extra === 'bias' && { bias: make(1, heads, length, entries) }),
          ...(extra === 'keyMask' && { keyMask: fill(backend, 1, [1, length], 'bool') }),
        };
        const shapes = { q: q.shape, k: k.shape, v: v.shape, graph: shape };
        const { plan, backward } = explainGraphAttention(backend, shapes, { ...options, training: true });
        const measured = (run: () => unknown): number => {
          const before = backend.memory().live;
          backend.resetPeak();
          run();
          return (backend.memory().peak ?? 0) - before;
        };
        const inferred = explainGraphAttention(backend, shapes, options).plan.bytes.total;
        const inference = inferred / measured(() => graphAttention(q, k, v, graph, options).dispose());
        const inputs = { q, k, v };
        let pulled = undefined as
          | { readonly output: Tensor; backward(cotangent: Tensor): unknown }
          | undefined;
        const training =
          plan.bytes.total /
          measured(() => {
            pulled = pullback((p: typeof inputs) => graphAttention(p.q, p.k, p.v, graph, options), inputs);
          });
        const cotangent = make(1, heads, length, dim);
        const { bytes } = (backward as NonNullable<typeof backward>).plan;
        // The lists were there before.
        const back = (bytes.total - bytes.saved) / measured(() => pulled?.backward(cotangent));
        for (const [what, ratio] of Object.entries({ inference, training, back })) {
          expect(ratio, what).toBeGreaterThanOrEqual(1);
          expect(ratio, what).toBeLessThanOrEqual(1.5);
        }
      });
    }
  }
});
