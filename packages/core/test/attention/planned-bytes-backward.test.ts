import { describe, expect, test } from 'vitest';
import { checkCall } from '../../src/attention/request.js';
import {
  type ExactAttentionOptions,
  exactAttention,
  fill,
  planAttentionBackward,
  pullback,
  type Tensor,
  topKAttention,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

interface Case {
  readonly length: number;
  readonly dim: number;
  readonly k: number | 'all';
  readonly keyHeads?: number;
  readonly extra?: 'causal' | 'bias' | 'relativeBias' | 'dropout' | 'sigmoids';
}

const heads = 4;
const cases: readonly Case[] = [
  { length: 256, dim: 16, k: 16 },
  { length: 512, dim: 64, k: 64, extra: 'causal' },
  { length: 512, dim: 16, k: 8, keyHeads: 2 },
  { length: 256, dim: 32, k: 16, extra: 'bias' },
  { length: 256, dim: 32, k: 16, extra: 'relativeBias' },
  { length: 256, dim: 32, k: 16, extra: 'dropout' },
  { length: 256, dim: 64, k: 'all' },
  { length: 256, dim: 64, k: 'all', extra: 'causal' },
  { length: 256, dim: 32, k: 'all', extra: 'bias' },
  { length: 256, dim: 32, k: 'all', extra: 'relativeBias' },
  { length: 256, dim: 64, k: 'all', extra: 'sigmoids' },
];

describe('planned bytes of the backward pass lie within 1.0 and 1.5 times the measured ones', () => {
  for (const { length, dim, k, keyHeads = heads, extra } of cases) {
    for (const queryChunk of [16, 64, 256]) {
      test(`L ${length}, D ${dim}, k ${k}, chunk ${queryChunk}${extra ? `, ${extra}` : ''}`, () => {
        const backend = createReferenceBackend({ fused: false });
        const make = (shape: readonly number[]): Tensor => fill(backend, 0.5, shape);
        const inputs = {
          q: make([1, heads, length, dim]),
          k: make([1, keyHeads, length, dim]),
          v: make([1, keyHeads, length, dim]),
        };
        const options: ExactAttentionOptions = {
          queryChunk,
          ...(extra === 'causal' && { causal: true }),
          ...(extra === 'bias' && { bias: make([1, 1, length, length]) }),
          ...(extra === 'relativeBias' && {
            relativeBias: { table: make([32, heads]), bidirectional: true, maxDistance: 128 },
          }),
          ...(extra === 'dropout' && { dropout: { rate: 0.1, seed: 1 } }),
          ...(extra === 'sigmoids' && { causal: true, sigmoidShift: -5 }),
        };
        const { request } = checkCall('test', inputs.q, inputs.k, inputs.v, options, k);
        const pulled = pullback(
          (p: typeof inputs) =>
            k === 'all'
              ? exactAttention(p.q, p.k, p.v, options)
              : topKAttention(p.q, p.k, p.v, { ...options, k }),
          inputs,
        );
        const cotangent = make(pulled.output.shape);
        const before = backend.memory().live;
        backend.resetPeak();
        pulled.backward(cotangent);
        const measured = (backend.memory().peak ?? 0) - before;
        const { bytes } = planAttentionBackward(request, backend.capabilities.limits, { queryChunk });
        // The lists were there before.
        const planned = bytes.total - bytes.saved;
        expect(planned / measured).toBeGreaterThanOrEqual(1);
        expect(planned / measured).toBeLessThanOrEqual(1.5);
      });
    }
  }
});
