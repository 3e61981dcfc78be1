import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { optional } from '@topk-attention/vitest-preset';
import { describe, expect } from 'vitest';

/** One call, large enough that a process's own noise of some megabytes is a few per cent of it. */
interface Case {
  readonly heads: number;
  readonly headDim: number;
  readonly queries: number;
  readonly keys: number;
  /** Left out for exact attention. */
  readonly k?: number;
  readonly queryChunk: number;
  readonly causal?: boolean;
}

const shape = { heads: 12, headDim: 64 };
const cases: { readonly [name: string]: Case } = {
  'choice of blocks': { ...shape, queries: 640, keys: 8192, k: 64, queryChunk: 128 },
  'choice of blocks, one chunk': { ...shape, queries: 128, keys: 8192, k: 64, queryChunk: 128 },
  'choice of blocks, causal': { ...shape, queries: 640, keys: 8192, k: 64, queryChunk: 128, causal: true },
  'choice of blocks, many kept keys': { ...shape, queries: 640, keys: 8192, k: 256, queryChunk: 128 },
  'one level': { ...shape, queries: 320, keys: 4096, k: 512, queryChunk: 64 },
  exact: { ...shape, queries: 640, keys: 8192, queryChunk: 128 },
  'exact, causal': { ...shape, queries: 640, keys: 8192, queryChunk: 128, causal: true },
};

const child = fileURLToPath(new URL('./planned-bytes-child.mjs', import.meta.url));
const memoryMap = {
  need: 'linux',
  available: process.platform === 'linux',
  reason: "a process's peak can be forgotten and read again on Linux alone",
};

async function measure(one: Case): Promise<{ planned: number; grown: number; chunks: number }> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', child, JSON.stringify(one)]);
  return JSON.parse(stdout);
}

describe('planned bytes lie within 1.0 and 1.5 times what a process grows by', () => {
  for (const [name, one] of Object.entries(cases)) {
    optional(
      name,
      memoryMap,
      async () => {
        const { planned, grown, chunks } = await measure(one);
        expect(chunks).toBe(one.queries / one.queryChunk);
        expect(planned / grown).toBeGreaterThanOrEqual(1);
        expect(planned / grown).toBeLessThanOrEqual(1.5);
      },
      600_000,
    );
  }
});
