import { createReferenceBackend } from '@topk-attention/core/reference';
import { largestDifference } from '@topk-attention/t5-goldens';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadT5, type T5 } from '../../src/index.js';
import { keepsNothing } from '../support/memory.js';
import { smallCheckpoint } from '../support/sources.js';

const backend = createReferenceBackend();
let model: T5;

beforeAll(async () => {
  model = await loadT5({ backend, source: await smallCheckpoint() });
});
afterAll(() => {
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

const source = [[12, 90, 33, 71, 8, 64, 5, 17, 101, 44, 1]];
const target = [[0, 5, 9, 13]];
const difference = async (a: object, b: object): Promise<number> => {
  const expected = model.logits(source, target, b);
  const values = Array.from(await expected.data(), Number);
  expected.dispose();
  return largestDifference(model.logits(source, target, a), values);
};

test('k of all keys and units is exact', async () => {
  expect(await difference({ attention: { k: 999 }, feedForward: { k: 96 } }, {})).toBeLessThan(1e-5);
});

test('k one below the number of keys leaves one out', async () => {
  const keys = (source[0] as number[]).length;
  expect(await difference({ encoder: { attention: { k: keys - 1 } } }, {})).toBeGreaterThan(1e-7);
  expect(await difference({ crossAttention: { k: keys - 1 } }, {})).toBeGreaterThan(1e-7);
  expect(await difference({ crossAttention: { k: keys } }, {})).toBe(0);
  const plan = (k: number) => model.explain({ sourceLength: keys, attention: { k } })[0]?.explanation.plan;
  expect(plan(keys - 1)).not.toEqual(plan(keys));
});

test('each choice changes the result, and only its own layers', async () => {
  const topK = { k: 2 };
  for (const choices of [
    { attention: topK },
    { feedForward: topK },
    { crossAttention: topK },
    { encoder: { attention: topK } },
    { decoder: { attention: topK } },
    { decoder: { crossAttention: topK } },
    { layers: { 'encoder.1': { feedForward: topK } } },
    { layers: { 'decoder.0': { crossAttention: topK } } },
  ]) {
    expect(await difference(choices, {}), JSON.stringify(choices)).toBeGreaterThan(1e-4);
  }
  const byStack = { encoder: { attention: topK }, decoder: { attention: topK } };
  expect(await difference(byStack, { attention: topK })).toBe(0);
  const byLayer = { 'encoder.0': { attention: topK }, 'encoder.1': { attention: topK } };
  expect(await difference({ layers: byLayer }, { encoder: { attention: topK } })).toBe(0);
});

test('a choice at load holds for every call that makes none of its own', async () => {
  const choices = { attention: { k: 3 }, feedForward: { k: 10, select: 'contribution' } } as const;
  const topK = await loadT5({ backend, source: await smallCheckpoint(), ...choices });
  const own = model.logits(source, target, choices);
  const expected = Array.from(await own.data(), Number);
  own.dispose();
  expect(await largestDifference(topK.logits(source, target), expected)).toBe(0);
  const exact = topK.logits(source, target, { attention: 'exact', feedForward: 'exact' });
  const values = Array.from(await exact.data(), Number);
  exact.dispose();
  expect(await largestDifference(model.logits(source, target), values)).toBe(0);
  topK.dispose();
});

test('decoding with a cache selects as the teacher-forced decoder does', async () => {
  const choices = { attention: { k: 2 }, feedForward: { k: 12 } };
  const prompt = source[0] as number[];
  const { ids, logits } = await keepsNothing(backend, () =>
    model.generate(prompt, { ...choices, maxNewTokens: 8 }),
  );
  const forced = model.logits([prompt], [[0, ...ids.slice(0, -1)]], choices);
  const values = await forced.data();
  forced.dispose();
  for (const [step, id] of ids.entries()) {
    expect(values[step * model.config.vocabSize + id]).toBeCloseTo(logits[step] ?? Number.NaN, 4);
  }
});

test('explain names every layer, its path and its bytes', async () => {
  const layers = model.explain({ sourceLength: 64, attention: { k: 4 } });
  expect(layers.map(({ name }) => name)).toEqual([
    'encoder.0 attention',
    'encoder.0 feedForward',
    'encoder.1 attention',
    'encoder.1 feedForward',
    'decoder.0 crossAttention',
    'decoder.1 crossAttention',
  ]);
  for (const { explanation } of layers) {
    expect(explanation.backend).toBe('reference');
    expect(explanation.plan.bytes.total).toBeGreaterThan(0);
    expect(String(explanation)).toContain('chunk');
  }
});
