import { exactAttention, matmul, type Tensor, topKAttention } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  type AttentionChoice,
  type AttentionLayer,
  attend,
  explainAttention,
  inference,
  type KeptKeys,
  keptKeys,
  keysAndValuesOf,
  mergeHeads,
  queriesOf,
  seedsFrom,
  type Trace,
} from '../../src/index.js';
import { randomTensor } from '../support/random.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const weights = {
  q: randomTensor(backend, 1, 6, 8),
  k: randomTensor(backend, 2, 6, 8),
  v: randomTensor(backend, 3, 6, 8),
  o: randomTensor(backend, 4, 8, 6),
};
const layer = (choice: AttentionChoice, sequence: AttentionLayer['sequence'] = {}): AttentionLayer => ({
  path: 'encoder.0.attention',
  weights,
  heads: 2,
  scale: 0.7,
  choice,
  sequence,
  dropout: 0.5,
});
const x = randomTensor(backend, 5, 2, 7, 6);
const query = queriesOf(layer('exact'), x);
const keys = keysAndValuesOf(layer('exact'), x);
const numbers = async (of: Tensor): Promise<number[]> => Array.from(await of.data(), Number);

test('a choice keeps all keys where there are no more than k', () => {
  expect(keptKeys('exact', 5)).toBe('all');
  expect(keptKeys({ k: 4 }, 5)).toBe(4);
  expect(keptKeys({ k: 5 }, 5)).toBe('all');
  expect(keptKeys({ k: 6 }, 5)).toBe('all');
});

test('attend is attention between the projections', async () => {
  const { key, value } = keys;
  for (const [choice, attended] of [
    ['exact', exactAttention(query, key, value, { scale: 0.7, causal: true })],
    [{ k: 3 }, topKAttention(query, key, value, { scale: 0.7, causal: true, k: 3 })],
  ] as const) {
    const own = layer(choice, { causal: true });
    const made = attend(inference, own, query, keys, own.sequence);
    expect(made.shape).toEqual([2, 7, 6]);
    expect(await numbers(made)).toEqual(await numbers(matmul(mergeHeads(attended), weights.o)));
  }
});

test('weights are dropped in training alone, by the seed of the path', async () => {
  const own = layer({ k: 3 });
  const plain = await numbers(attend(inference, own, query, keys, {}));
  const trained = (step: number) =>
    numbers(attend({ training: true, seeds: seedsFrom(step) }, own, query, keys, {}));
  expect(await trained(1)).toEqual(await trained(1));
  expect(await trained(1)).not.toEqual(await trained(2));
  expect(await trained(1)).not.toEqual(plain);
});

test('explainAttention explains the call that attend makes', () => {
  const own = layer({ k: 3 });
  expect(String(explainAttention(backend, own, query.shape, keys.key.shape))).toContain('topKAttention');
  const all = layer({ k: 7 });
  expect(String(explainAttention(backend, all, query.shape, keys.key.shape))).toContain('exactAttention');
});

describe('the hook', () => {
  async function kept(choice: AttentionChoice): Promise<{ [name in keyof KeptKeys]: number[] }> {
    const seen: [string, KeptKeys][] = [];
    const trace: Trace = { onAttention: (path, lists) => seen.push([path, lists]) };
    const own = layer(choice, { causal: true });
    const traced = attend({ training: false, trace }, own, query, keys, own.sequence);
    const plain = attend(inference, own, query, keys, own.sequence);
    expect(await numbers(traced)).toEqual(await numbers(plain));
    expect(seen.map(([path]) => path)).toEqual(['encoder.0.attention']);
    const [[, lists]] = seen as [[string, KeptKeys]];
    const read = {
      indices: await numbers(lists.indices),
      scores: await numbers(lists.scores),
      weights: await numbers(lists.weights),
    };
    for (const one of Object.values(lists)) one.dispose();
    return read;
  }

  /** Scores of every query and key it may see, by hand: [B * H * L][L]. */
  async function bruteForce(): Promise<number[][]> {
    const [q, k] = [await numbers(query), await numbers(keys.key)];
    return Array.from({ length: 2 * 2 * 7 }, (_, row) => {
      const head = Math.floor(row / 7);
      return Array.from({ length: (row % 7) + 1 }, (_, key) => {
        let sum = 0;
        for (let d = 0; d < 4; d++)
          sum += (q[row * 4 + d] as number) * (k[(head * 7 + key) * 4 + d] as number);
        return 0.7 * sum;
      });
    });
  }

  test.each([1, 3, 7])('sees the keys, scores and weights that %d keys per query give', async (k) => {
    const { indices, scores, weights } = await kept(k === 7 ? 'exact' : { k });
    const all = await bruteForce();
    for (const [row, visible] of all.entries()) {
      const order = [...visible.keys()].sort((a, b) => (visible[b] as number) - (visible[a] as number));
      const expected = order.slice(0, k).sort((a, b) => a - b);
      const largest = Math.max(...visible);
      const total = expected.reduce((sum, key) => sum + Math.exp((visible[key] as number) - largest), 0);
      for (let slot = 0; slot < k; slot++) {
        const key = expected[slot];
        const at = row * k + slot;
        expect(indices[at]).toBe(key ?? -1);
        const score = key === undefined ? Number.NEGATIVE_INFINITY : (visible[key] as number);
        // Scores are rounded to f32 once.
        if (key === undefined) expect(scores[at]).toBe(score);
        else expect(scores[at]).toBeCloseTo(score, 5);
        expect(weights[at]).toBeCloseTo(Math.exp(score - largest) / total, 5);
      }
    }
  });

  test('gets tensors that outlive the layer, and frees them', () => {
    let lists: KeptKeys | undefined;
    const trace: Trace = { onAttention: (_, given) => (lists = given) };
    const before = backend.memory().live;
    attend({ training: false, trace }, layer({ k: 2 }), query, keys, {}).dispose();
    expect(backend.memory().live).toBeGreaterThan(before);
    for (const one of Object.values(lists as unknown as KeptKeys)) one.dispose();
    expect(backend.memory().live).toBe(before);
  });
});
