import { existsSync, readFileSync } from 'node:fs';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { perplexityOf, readStories, storiesModel } from '@topk-attention/t5-goldens';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CausalLM, loadCausalLM } from '../../src/index.js';

const { ids, text, perplexity } = readStories();
let model: CausalLM;

beforeAll(async () => {
  model = await loadCausalLM({ backend: createReferenceBackend(), source: storiesModel });
});
afterAll(() => model.dispose());

const share = async (texts: readonly (readonly number[])[], choices: object, expected: number) =>
  Math.abs((await perplexityOf(model, texts, choices)) / expected - 1);

test('its tokenizer gives the ids of llama2.c, and back', () => {
  expect(model.tokenizer?.encode(text)).toEqual(ids);
  expect(model.tokenizer?.decode(ids)).toBe(text);
  expect(model.tokenizer?.encode('')).toEqual([1]);
});

test('its greedy text, token by token, is that of transformers', async () => {
  let streamed = '';
  for await (const token of model.stream('', { maxNewTokens: 24 })) streamed += token.text;
  expect(text.startsWith(streamed)).toBe(true);
  expect(streamed).toBe('Once upon a time, there was a little girl named Lily. She loved to play outsid');
});

test('a prompt is continued where the text goes on', async () => {
  const half = ids.slice(0, 60);
  const made = await model.generate(half, { maxNewTokens: 8, attention: { k: 64 } });
  expect(made.ids).toEqual(ids.slice(60, 68));
  expect(made.sourceLength).toBe(60);
});

optional('its perplexity against k is within 0.2 % of float64', thoroughAvailability(), async () => {
  expect(await share([ids], {}, perplexity.exact)).toBeLessThan(0.002);
  for (const k of [8, 1]) {
    const expected = perplexity.attention[k] as number;
    expect(await share([ids], { attention: { k } }, expected), `k = ${k}`).toBeLessThan(0.002);
  }
  for (const k of [64, 4]) {
    const feedForward = { k, select: 'contribution' };
    const expected = perplexity.feedForward[k] as number;
    expect(await share([ids], { feedForward }, expected), `units ${k}`).toBeLessThan(0.002);
  }
});

const samples = process.env.TOPK_TINYSTORIES ?? '';

/** Perplexity of the first 400 tokens of each of five stories, by k; 0: exact. */
const ofSamples = { 0: 3.526, 64: 3.527, 32: 3.534, 16: 3.569, 8: 3.63, 4: 3.821, 2: 4.229, 1: 5.759 };

optional(
  'perplexities of five stories of TinyStories',
  {
    need: 'tinystories',
    available: existsSync(samples),
    reason: 'TOPK_TINYSTORIES names no file of stories separated by <|endoftext|>',
  },
  async () => {
    const stories = readFileSync(samples, 'utf8').split('<|endoftext|>');
    const texts = stories
      .map((one) => one.trim())
      .filter((one) => one !== '')
      .map((one) => (model.tokenizer?.encode(one) ?? []).slice(0, 400));
    for (const [k, expected] of Object.entries(ofSamples)) {
      const choices = k === '0' ? {} : { attention: { k: Number(k) } };
      expect(await share(texts, choices, expected), `k = ${k}`).toBeLessThan(0.002);
    }
  },
);
