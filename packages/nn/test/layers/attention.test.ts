import {
  type AttentionOptions,
  add,
  exactAttention,
  matmul,
  mul,
  type Tensor,
  topKAttention,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  type AttentionChoice,
  type AttentionFunction,
  type AttentionLayer,
  attend,
  explainAttention,
  inference,
  type KeptKeys,
  keptKeys,
  keysAndValuesOf,
  mergeHeads,
  queriesOf,
  type Run,
  seedsFrom,
  splitHeads,
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

test('projections may have biases, and key/value heads may be fewer', async () => {
  const biased = {
    ...{ q: weights.q, k: randomTensor(backend, 6, 6, 4), v: randomTensor(backend, 7, 6, 4), o: weights.o },
    ...{ qBias: randomTensor(backend, 8, 8), kBias: randomTensor(backend, 9, 4) },
    ...{ vBias: randomTensor(backend, 10, 4), oBias: randomTensor(backend, 11, 6) },
  };
  const own: AttentionLayer = { ...layer({ k: 3 }), weights: biased, keyValueHeads: 1 };
  const made = attend(inference, own, queriesOf(own, x), keysAndValuesOf(own, x), {});
  const attended = topKAttention(
    splitHeads(add(matmul(x, biased.q), biased.qBias), 2),
    splitHeads(add(matmul(x, biased.k), biased.kBias), 1),
    splitHeads(add(matmul(x, biased.v), biased.vBias), 1),
    { scale: 0.7, k: 3 },
  );
  const expected = await numbers(add(matmul(mergeHeads(attended), biased.o), biased.oBias));
  for (const [at, one] of (await numbers(made)).entries())
    expect(one).toBeCloseTo(expected[at] as number, 12);
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

test('a budget of the run holds for the call and its plan', () => {
  const composed = createReferenceBackend({ fused: false });
  const shape = [1, 2, 64, 4];
  const planned = (run: Run) => explainAttention(composed, layer('exact'), shape, shape, run).plan;
  const { bytes, queryChunk } = planned(inference);
  const tight = planned({ ...inference, budgetBytes: bytes.total - 1 });
  expect(tight.queryChunk).toBeLessThan(queryChunk);
  expect(tight.bytes.total).toBeLessThan(bytes.total);

  const none = { ...inference, budgetBytes: 1 };
  const refused = expect.objectContaining({ code: 'DOES_NOT_FIT' });
  expect(() => planned(none)).toThrow(refused);
  for (const choice of ['exact', { k: 3 }] as const) {
    expect(() => attend(none, layer(choice), query, keys, {})).toThrow(refused);
  }
});

describe('attention that is a function', () => {
  test('is called with heads and options, and its result projected', async () => {
    let seen: readonly [Tensor, Tensor, Tensor, AttentionOptions] | undefined;
    const own = layer(
      (...given) => {
        seen = given;
        return mul(exactAttention(...given), 2);
      },
      { causal: true },
    );
    const run = { training: true, seeds: seedsFrom(1), budgetBytes: 1e6 };
    const made = attend(run, own, query, keys, own.sequence);
    expect(seen?.slice(0, 3)).toEqual([query, keys.key, keys.value]);
    const options = seen?.[3] as AttentionOptions;
    const dropout = { rate: 0.5, seed: seedsFrom(1)('encoder.0.attention.weights') };
    expect(options).toEqual({ causal: true, scale: 0.7, budgetBytes: 1e6, dropout });
    const attended = mul(exactAttention(query, keys.key, keys.value, options), 2);
    expect(await numbers(made)).toEqual(await numbers(matmul(mergeHeads(attended), weights.o)));
  });

  test('leaves nothing behind, whether it returns something new or something borrowed', async () => {
    const functions: AttentionFunction[] = [
      exactAttention,
      (_q, _k, v) => v,
      (_q, _k, v) => mul(mul(v, 2), 3),
    ];
    const { live } = backend.memory();
    for (const choice of functions) attend(inference, layer(choice), query, keys, {}).dispose();
    expect(backend.memory().live).toBe(live);
    expect(await numbers(keys.value)).toHaveLength(2 * 2 * 7 * 4);
  });

  test.each<[string, unknown, string]>([
    ['no tensor', undefined, 'INVALID_OPTION'],
    ['a promise', Promise.resolve(query), 'INVALID_OPTION'],
    ['heads that are merged', mergeHeads(query), 'SHAPE_MISMATCH'],
    ['too wide a result', randomTensor(backend, 6, 2, 2, 7, 8), 'SHAPE_MISMATCH'],
  ])('must not return %s', (_, wrong, code) => {
    const own = layer(() => wrong as Tensor);
    expect(() => attend(inference, own, query, keys, {})).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining('encoder.0.attention') }),
    );
  });

  test('has no plan, and nothing for a hook', () => {
    const own = layer(exactAttention);
    expect(() => explainAttention(backend, own, query.shape, keys.key.shape)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
    const onAttention = (): never => {
      throw new Error('called');
    };
    attend({ training: false, trace: { onAttention } }, own, query, keys, {}).dispose();
  });
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
