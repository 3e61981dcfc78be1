import { describe, expect, test } from 'vitest';
import {
  type ExactAttentionOptions,
  exactAttention,
  explain,
  fill,
  pullback,
  type Tensor,
  tensor,
  topKAttention,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

/** The plan's total against what the composed path really held at its worst moment. */
interface Case {
  readonly length: number;
  readonly dim: number;
  readonly k: number | 'all';
  readonly extra?: 'causal' | 'keyLengths' | 'bias' | 'relativeBias' | 'mask and dropout' | 'sigmoids';
}

const cases: readonly Case[] = [
  { length: 256, dim: 16, k: 16 },
  { length: 256, dim: 16, k: 16, extra: 'causal' },
  { length: 256, dim: 64, k: 'all' },
  { length: 256, dim: 64, k: 'all', extra: 'causal' },
  { length: 256, dim: 16, k: 'all', extra: 'sigmoids' },
  { length: 300, dim: 64, k: 64, extra: 'causal' },
  { length: 512, dim: 16, k: 8, extra: 'keyLengths' },
  { length: 64, dim: 64, k: 32 },
  { length: 256, dim: 32, k: 16, extra: 'bias' },
  { length: 256, dim: 32, k: 16, extra: 'relativeBias' },
  { length: 256, dim: 32, k: 16, extra: 'mask and dropout' },
];
const heads = 4;

describe('planned bytes lie within 1.0 and 1.5 times the measured ones', () => {
  for (const one of cases) {
    for (const queryChunk of [16, 64, 512]) {
      for (const training of [false, true]) {
        const { length, dim, k, extra } = one;
        const name = `L ${length}, D ${dim}, k ${k}, chunk ${queryChunk}${extra ? `, ${extra}` : ''}${training ? ', training' : ''}`;
        test(name, () => {
          const backend = createReferenceBackend({ fused: false });
          const make = (shape: readonly number[]): Tensor => fill(backend, 0.5, shape);
          const shape = [1, heads, length, dim];
          const [q, keys, v] = [make(shape), make(shape), make(shape)];
          const options: ExactAttentionOptions = {
            queryChunk,
            ...(extra === 'causal' && { causal: true }),
            ...(extra === 'sigmoids' && { causal: true, sigmoidShift: -5 }),
            ...(extra === 'keyLengths' && { keyLengths: tensor(backend, Int32Array.of(length - 3)) }),
            ...(extra === 'bias' && { bias: make([1, 1, length, length]) }),
            ...(extra === 'relativeBias' && {
              relativeBias: { table: make([32, heads]), bidirectional: true, maxDistance: 128 },
            }),
            ...(extra === 'mask and dropout' && {
              mask: tensor(backend, new Uint8Array(length * length).fill(1), [1, 1, length, length]),
              dropout: { rate: 0.1, seed: 1 },
            }),
          };
          const { plan } = explain(
            backend,
            { q: shape, k: shape, v: shape },
            { ...options, ...(k !== 'all' && { k }), training },
          );
          const run = (query: Tensor): Tensor =>
            k === 'all'
              ? exactAttention(query, keys, v, options)
              : topKAttention(query, keys, v, { ...options, k });
          const before = backend.memory().live;
          backend.resetPeak();
          if (training) pullback(run, q).dispose();
          else run(q);
          const measured = (backend.memory().peak ?? 0) - before;
          expect(plan.bytes.total / measured).toBeGreaterThanOrEqual(1);
          expect(plan.bytes.total / measured).toBeLessThanOrEqual(1.5);
        });
      }
    }
  }
});
