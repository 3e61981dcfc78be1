import { abs, narrow, type Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { causalLinearAttention, linearAttention } from '../../src/mechanisms/linear-attention.js';
import { randomTensor } from '../support/random.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const [batch, heads, keyHeads, features, width] = [2, 4, 2, 5, 3] as const;

/** Weighted means, pair by pair. */
async function bruteForce(query: Tensor, key: Tensor, value: Tensor, causal: boolean): Promise<number[]> {
  const [q, k, v] = await Promise.all([query.data(), key.data(), value.data()]);
  const [queries, keys] = [query.shape[2] as number, key.shape[2] as number];
  const made: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const group = b * keyHeads + Math.floor((h * keyHeads) / heads);
      for (let i = 0; i < queries; i++) {
        const sums = new Float64Array(width);
        let total = 0;
        for (let j = 0; j < keys && (!causal || j <= i + keys - queries); j++) {
          let weight = 0;
          for (let f = 0; f < features; f++) {
            weight +=
              (q[((b * heads + h) * queries + i) * features + f] as number) *
              (k[(group * keys + j) * features + f] as number);
          }
          total += weight;
          for (let d = 0; d < width; d++) {
            sums[d] = (sums[d] as number) + weight * (v[(group * keys + j) * width + d] as number);
          }
        }
        made.push(...sums.map((sum) => sum / total));
      }
    }
  }
  return made;
}

const inputs = (queries: number, keys: number) => ({
  query: abs(randomTensor(backend, 1, batch, heads, queries, features)),
  key: abs(randomTensor(backend, 2, batch, keyHeads, keys, features)),
  value: randomTensor(backend, 3, batch, keyHeads, keys, width),
});

async function expectClose(made: Tensor, expected: readonly number[]): Promise<void> {
  const numbers = await made.data();
  expect(numbers.length).toBe(expected.length);
  for (const [at, number] of expected.entries()) expect(numbers[at]).toBeCloseTo(number, 12);
}

test('is the mean of values by products of features', async () => {
  const { query, key, value } = inputs(4, 6);
  await expectClose(linearAttention({ query, key, value }), await bruteForce(query, key, value, false));
});

describe.each([1, 2, 3, 100])('causally, %i at a time', (chunk) => {
  test.each([
    [7, 7],
    [4, 7],
  ])('%i queries and %i keys', async (queries, keys) => {
    const { query, key, value } = inputs(queries, keys);
    const { output } = causalLinearAttention({ query, key, value }, chunk);
    await expectClose(output, await bruteForce(query, key, value, true));
  });
});

test('a state stands for the keys before', async () => {
  const all = inputs(7, 7);
  const part = (start: number, length: number) => ({
    query: narrow(all.query, 2, start, length),
    key: narrow(all.key, 2, start, length),
    value: narrow(all.value, 2, start, length),
  });
  const first = causalLinearAttention(part(0, 3), 2);
  const second = causalLinearAttention(part(3, 4), 2, first.state);
  const whole = causalLinearAttention(all, 128);
  await expectClose(second.output, Array.from(await narrow(whole.output, 2, 3, 4).data(), Number));
  await expectClose(second.state.sums, Array.from(await whole.state.sums.data(), Number));
});

test('more queries than keys have no causal order', () => {
  expect(() => causalLinearAttention(inputs(5, 4), 2)).toThrow(
    expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
  );
});
