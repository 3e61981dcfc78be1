import { seededRandom } from '@topk-attention/app-kit';
import { exactAttention, narrow, scope, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { AttentionFunction } from '@topk-attention/models';
import { expect, test } from 'vitest';
import { randomAttention } from '../src/engine/random-attention.js';

const backend = createReferenceBackend();
const HEADS = 2;
const LENGTH = 12;
const VALID = [12, 7];

/** How a call hides keys. */
type Hidden = Pick<Parameters<AttentionFunction>[3], 'keyLengths' | 'causal' | 'queryStart'>;

const padded = (): Hidden => ({
  keyLengths: tensor(backend, Int32Array.from(VALID), [VALID.length], 'i32'),
});

/** Softmax weights of every key, [B * H * Lq][L]: the values are the rows of the unit matrix. */
async function weightsOf(
  attention: AttentionFunction,
  hidden: () => Hidden = padded,
  queries = LENGTH,
): Promise<number[][]> {
  const output = scope(() => {
    const heads = (width: number, value: (at: number) => number): Tensor => {
      const size = VALID.length * HEADS * LENGTH * width;
      const numbers = Float32Array.from({ length: size }, (_, at) => value(at));
      return tensor(backend, numbers, [VALID.length, HEADS, LENGTH, width]);
    };
    const [q, k] = [1, 2].map((seed) => heads(3, (at) => Math.sin(seed + at * at))) as [Tensor, Tensor];
    const v = heads(LENGTH, (at) => (Math.floor(at / LENGTH) % LENGTH === at % LENGTH ? 1 : 0));
    return attention(narrow(q, 2, 0, queries), k, v, hidden());
  });
  const values = Array.from(await output.data(), Number);
  output.dispose();
  return Array.from({ length: values.length / LENGTH }, (_, row) =>
    values.slice(row * LENGTH, (row + 1) * LENGTH),
  );
}

const keptBy = (rows: readonly (readonly number[])[]): number[][] =>
  rows.map((row) => [...row.keys()].filter((key) => (row[key] as number) > 0));

test('keeps k keys of each query among those that are valid, by the seed, with softmax over them', async () => {
  const rows = await weightsOf(randomAttention(5, seededRandom(1)));
  const exact = await weightsOf(exactAttention);
  for (const [at, row] of rows.entries()) {
    const kept = keptBy([row])[0] as number[];
    expect(kept).toHaveLength(5);
    expect(Math.max(...kept)).toBeLessThan(VALID[Math.floor(at / (HEADS * LENGTH))] as number);
    const total = kept.reduce((sum, key) => sum + (exact[at]?.[key] as number), 0);
    for (const key of kept) expect(row[key]).toBeCloseTo((exact[at]?.[key] as number) / total, 5);
  }
  expect(await weightsOf(randomAttention(5, seededRandom(1)))).toEqual(rows);
  const others = keptBy(await weightsOf(randomAttention(5, seededRandom(2))));
  expect(others).not.toEqual(keptBy(rows));
  // Every valid key has its turn, whatever its score.
  expect(new Set(keptBy(rows).flat()).size).toBe(LENGTH);
  expect(backend.memory().live).toBe(0);
});

test('keeps all keys that are valid where there are no more than k', async () => {
  const exact = await weightsOf(exactAttention);
  expect(await weightsOf(randomAttention(LENGTH, seededRandom(1)))).toEqual(exact);
  const rows = await weightsOf(randomAttention(8, seededRandom(1)));
  // The second entry of the batch has 7 keys.
  const half = HEADS * LENGTH;
  expect(rows.slice(half)).toEqual(exact.slice(half));
  expect(keptBy(rows.slice(0, half)).every((kept) => kept.length === 8)).toBe(true);
});

test.each([
  ['a cache with room left', 1, { causal: true, queryStart: 6 }, () => 7],
  ['whole sequences', LENGTH, { causal: true }, (query: number) => query + 1],
])('chooses among the keys that causality leaves: %s', async (_, queries, hidden, validAt) => {
  const rows = await weightsOf(randomAttention(5, seededRandom(1)), () => hidden, queries);
  for (const [at, kept] of keptBy(rows).entries()) {
    const valid = validAt(at % queries);
    expect(kept).toHaveLength(Math.min(5, valid));
    expect(Math.max(...kept)).toBeLessThan(valid);
  }
  expect(backend.memory().live).toBe(0);
});
