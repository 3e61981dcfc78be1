import { exactAttention, mul, reshape, type Tensor, topKAttention } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, expect, test } from 'vitest';
import { type AttentionFunction, createT5, type LayerChoices } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { tinyConfig, tinyInputs, tinyParameters } from '../support/tiny.js';

const backend = createReferenceBackend();
const config = tinyConfig();
const model = createT5(config, tinyParameters(backend, config));
const { sources, sourceLengths, targets } = tinyInputs;

afterAll(() => {
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

async function logits(choices: LayerChoices): Promise<number[]> {
  const made = model.logits(sources, targets, { sourceLengths, ...choices });
  const values = Array.from(await made.data(), Number);
  made.dispose();
  return values;
}

const best: AttentionFunction = (q, k, v, options) => topKAttention(q, k, v, { ...options, k: 2 });
const doubled: AttentionFunction = (q, k, v, options) => mul(exactAttention(q, k, v, options), 2);

test("core's functions, called as such, are the choices of the same name", async () => {
  expect(await logits({ attention: exactAttention })).toEqual(await logits({}));
  expect(await logits({ attention: best })).toEqual(await logits({ attention: { k: 2 } }));
  const exact = await logits({});
  for (const choices of [
    { attention: doubled },
    { crossAttention: doubled },
    { encoder: { attention: doubled } },
    { layers: { 'decoder.1': { attention: doubled } } },
  ] satisfies LayerChoices[]) {
    expect(await logits(choices)).not.toEqual(exact);
  }
});

test('a function decides in every layer of its own, in decoding too, and leaves nothing', async () => {
  const lengths: [queries: number, keys: number, isPadded: boolean][] = [];
  const seen: AttentionFunction = (q, k, v, options) => {
    lengths.push([q.shape[2] as number, k.shape[2] as number, options.queryStart !== undefined]);
    return best(q, k, v, options);
  };
  const options = { maxNewTokens: 3 };
  const expected = await model.generate([5, 3, 9, 2, 1], { ...options, attention: { k: 2 } });
  const result = await keepsNothing(backend, () =>
    model.generate([5, 3, 9, 2, 1], { ...options, attention: seen }),
  );
  expect(result).toEqual(expected);
  const step = [1, 32, true];
  const cross = [1, 5, false];
  const steps = result.ids.flatMap(() => [step, cross, step, cross]);
  expect(lengths).toEqual([[5, 5, false], [5, 5, false], ...steps]);
});

test('explain leaves out what has no plan', () => {
  const names = (choices: LayerChoices) =>
    model.explain({ sourceLength: 5, ...choices }).map(({ name }) => name);
  const feedForward = ['encoder.0 feedForward', 'encoder.1 feedForward'];
  expect(names({ attention: doubled })).toEqual(feedForward);
  expect(names({ layers: { 'encoder.1': { attention: doubled } }, crossAttention: doubled })).toEqual([
    'encoder.0 attention',
    ...feedForward,
  ]);
});

test('an error of the function, or a wrong result, frees everything', async () => {
  const failing: [AttentionFunction, object][] = [
    [
      () => {
        throw new Error('mine');
      },
      { message: 'mine' },
    ],
    [(q) => reshape(q, [-1]), { code: 'SHAPE_MISMATCH' }],
    [() => undefined as unknown as Tensor, { code: 'INVALID_OPTION' }],
  ];
  await keepsNothing(backend, async () => {
    for (const [crossAttention, error] of failing) {
      await expect(model.generate([5, 1], { crossAttention })).rejects.toMatchObject(error);
    }
  });
  const feedForward = doubled as unknown as 'exact';
  expect(await errorOf(model.generate([5, 1], { feedForward }))).toMatchObject({
    code: 'INVALID_K',
    got: 'a function',
  });
});
