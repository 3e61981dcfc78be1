import { tensor, topKAttention } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { createWebGpuBackend } from '../../src/index.js';

/** Values in [-1, 1) from a linear congruence, so that lists are of ordinary length. */
function noise(length: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

optional(
  'how candidate lists decided is counted, and starts again when it was asked for',
  softwareGpuAvailability(),
  async () => {
    const backend = await createWebGpuBackend({ countSelection: true, onWarning: () => {} });
    const [keys, dim, queries] = [1024, 16, 64];
    const rows = (length: number, seed: number) =>
      tensor(backend, noise(length * dim, seed), [1, 1, length, dim]);
    const k = rows(keys, 1);
    const v = rows(keys, 2);
    await topKAttention(rows(queries, 3), k, v, { k: 8 }).data();
    const counts = await backend.selectionCounts();
    expect(counts?.meanList).toBeGreaterThanOrEqual(8);
    expect(counts?.longestList).toBeGreaterThanOrEqual(Math.floor(counts?.meanList ?? 0));
    expect(counts?.slowRows).toBeLessThan(queries);
    // A query of zeros scores every key alike: no list is short enough to decide.
    await topKAttention(tensor(backend, new Float32Array(queries * dim), [1, 1, queries, dim]), k, v, {
      k: 8,
    }).data();
    expect((await backend.selectionCounts())?.slowRows).toBe(queries);
    expect((await backend.selectionCounts())?.slowRows).toBe(0);
    await backend.dispose();
    const without = await createWebGpuBackend({ onWarning: () => {} });
    expect(await without.selectionCounts()).toBeUndefined();
    await without.dispose();
  },
  900_000,
);
