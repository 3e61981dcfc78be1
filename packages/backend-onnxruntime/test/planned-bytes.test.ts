import { optional } from '@topk-attention/vitest-preset';
import { describe, expect } from 'vitest';
import { type Call, measure, memoryMap } from './support/process-growth.js';

const shape = { heads: 12, headDim: 64 };
/**
 * Calls of three chunks, large enough that a process's own noise of some megabytes is a few per cent of them.
 */
const cases: { readonly [name: string]: Call & { readonly queryChunk: number; readonly queries: number } } = {
  'choice of blocks': { ...shape, queries: 384, keys: 8192, k: 64, queryChunk: 128 },
  'choice of blocks, one chunk': { ...shape, queries: 128, keys: 8192, k: 64, queryChunk: 128 },
  'choice of blocks, causal': { ...shape, queries: 384, keys: 8192, k: 64, queryChunk: 128, causal: true },
  'choice of blocks, many kept keys': { ...shape, queries: 384, keys: 8192, k: 256, queryChunk: 128 },
  'one level': { ...shape, queries: 192, keys: 4096, k: 512, queryChunk: 64 },
  exact: { ...shape, queries: 384, keys: 8192, queryChunk: 128 },
  'exact, causal': { ...shape, queries: 384, keys: 8192, queryChunk: 128, causal: true },
};

describe('planned bytes lie within 1.0 and 1.5 times what a process grows by', () => {
  for (const [name, one] of Object.entries(cases)) {
    optional(name, memoryMap, async () => {
      const { planned, grown, chunks } = await measure(one);
      expect(chunks).toBe(one.queries / one.queryChunk);
      expect(planned / grown).toBeGreaterThanOrEqual(1);
      expect(planned / grown).toBeLessThanOrEqual(1.5);
    });
  }
});

/** Eight heads of 64, in chunks of 64 queries. */
const eight = { heads: 8, headDim: 64, queryChunk: 64 };
const dropout = { rate: 0.1, seed: 1 };

describe('the same with dropout, a bias of every score, and grouped heads', () => {
  const others: { readonly [name: string]: Call } = {
    'dropout, kept keys': { heads: 8, headDim: 64, queries: 2048, k: 64, dropout },
    'a bias of each head': { heads: 8, headDim: 64, queries: 1024, keys: 4096, k: 32, bias: true },
    'grouped heads with wide values': {
      batch: 2,
      heads: 8,
      keyHeads: 2,
      headDim: 32,
      valueDim: 96,
      queries: 1500,
      keys: 3000,
      k: 100,
      causal: true,
      keyLengths: true,
    },
  };
  for (const [name, one] of Object.entries(others)) planned(name, one);
});

describe('composed operations: planned bytes, and growth in proportion to the length', () => {
  const growing: { readonly [name: string]: (length: number) => Call } = {
    'gradient of exact attention': (queries) => ({ ...eight, queries, gradient: true }),
    'gradient of top-k attention': (queries) => ({ ...eight, queries, gradient: true, k: 64, causal: true }),
    'exact attention with dropout': (queries) => ({ ...eight, queries, dropout }),
    'gradient of a feed-forward layer': (tokens) => ({
      tokens,
      dim: 256,
      hidden: 1024,
      k: 64,
      tokenChunk: 256,
      gradient: true,
    }),
  };
  for (const [name, at] of Object.entries(growing)) {
    optional(name, memoryMap, async () => {
      const grown: number[] = [];
      for (const length of [512, 1024]) {
        const found = await measure(at(length));
        expect(found.planned / found.grown, `length ${length}`).toBeGreaterThanOrEqual(1);
        expect(found.planned / found.grown, `length ${length}`).toBeLessThanOrEqual(1.5);
        grown.push(found.grown);
      }
      // A matrix of all scores would make it four times as much.
      expect((grown[1] as number) / (grown[0] as number)).toBeLessThan(3);
    });
  }

  planned('gradient of exact attention over 2,048 keys', { ...eight, queries: 2048, gradient: true });
  planned('gradient of exact attention, causal, with a rest', {
    ...eight,
    queries: 1000,
    gradient: true,
    causal: true,
  });
  planned('gradient of exact attention with a relative bias', {
    ...eight,
    queries: 1024,
    gradient: true,
    relative: true,
  });
  planned('gradient of exact attention with dropout', { ...eight, queries: 1024, gradient: true, dropout });
});

describe('a budget holds for both passes together', () => {
  const training = { heads: 8, headDim: 64, queries: 1024, gradient: true };
  const budgets: { readonly [name: string]: Call & { readonly budgetBytes: number } } = {
    exact: { ...training, budgetBytes: 85e6 },
    'top-k': { ...training, k: 64, causal: true, budgetBytes: 100e6 },
  };
  for (const [name, one] of Object.entries(budgets)) {
    optional(name, memoryMap, async () => {
      const found = await measure(one);
      expect(found.planned).toBeLessThanOrEqual(one.budgetBytes);
      expect(found.grown).toBeLessThanOrEqual(one.budgetBytes);
    });
  }

  optional('or it is refused', memoryMap, async () => {
    await expect(measure({ ...training, k: 64, causal: true, budgetBytes: 30e6 })).rejects.toThrow(
      'DOES_NOT_FIT',
    );
  });
});

function planned(name: string, one: Call): void {
  optional(name, memoryMap, async () => {
    const found = await measure(one);
    expect(found.planned / found.grown).toBeGreaterThanOrEqual(1);
    expect(found.planned / found.grown).toBeLessThanOrEqual(1.5);
  });
}
