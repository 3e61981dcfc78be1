// What decoder-only models have to do on every backend that their tests run on: the goldens of Python transformers.
import type { Backend } from '@topk-attention/core';
import { loadCausalLM } from '@topk-attention/models';
import {
  causalForwardCases,
  causalForwardDifference,
  causalGoldensFolder,
  Goldens,
  perplexityOf,
  readCausalManifest,
  readStories,
  storiesModel,
} from '@topk-attention/t5-goldens';
import { expect } from 'vitest';

const { models, maxNewTokens } = readCausalManifest();

type CausalModel = (typeof models)[number];

/** Small random models by their names; those named here have every setting of a layer among them. */
export function causalModels(
  names: readonly string[] = ['gpt2', 'llama-3', 'qwen3'],
): readonly CausalModel[] {
  return models.filter(({ model }) => names.includes(model));
}

/** Logits within 1e-4 of transformers, padding on the left included; greedy ids identical, alone and in a batch. */
export async function checkCausal(backend: Backend, { model: folder, topK }: CausalModel): Promise<void> {
  const goldens = await Goldens.read(`causal-lm/${folder}/goldens.safetensors`);
  const model = await loadCausalLM({ backend, source: `${causalGoldensFolder}/${folder}`, tokenizer: false });
  for (const name of causalForwardCases) {
    const difference = await causalForwardDifference(model, goldens, name, name === 'topK' ? topK : {});
    expect(difference, name).toBeLessThan(1e-4);
  }
  const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths').slice(0, 4);
  const expected = goldens.ragged('generate.ids', 'generate.lengths').slice(0, 4);
  for (const [index, prompt] of prompts.slice(0, 2).entries()) {
    const { ids } = await model.generate(prompt, { maxNewTokens });
    expect(ids, `prompt ${index}`).toEqual(expected[index]);
  }
  const batch = await model.generateBatch(prompts, { maxNewTokens });
  expect(batch.map(({ ids }) => ids)).toEqual(expected);
  model.dispose();
  expect(backend.memory().live).toBe(0);
}

export interface StoriesCheck {
  readonly newTokens: number;
  /** Whether perplexities are of the whole text, or of its start. */
  readonly isWhole: boolean;
  /** Keys that each query keeps. */
  readonly kept: readonly number[];
  /** Hidden units that each token keeps. */
  readonly units: readonly number[];
}

/** stories260K: its greedy text, and its perplexity within 0.2 % of float64 for all keys and for the k best. */
export async function checkStories(
  backend: Backend,
  { newTokens, isWhole, kept, units }: StoriesCheck,
): Promise<void> {
  const { ids, text, start, ...whole } = readStories();
  const { perplexity } = isWhole ? whole : start;
  const scored = isWhole ? ids : ids.slice(0, start.tokens + 1);
  const model = await loadCausalLM({ backend, source: storiesModel });
  const made = await model.generate('', { maxNewTokens: newTokens });
  expect(made.ids).toEqual(ids.slice(1, newTokens + 1));
  expect(text.startsWith(made.text)).toBe(true);
  expect(made.text).toContain('Once upon a time');
  const near = async (choices: Parameters<typeof perplexityOf>[2], expected: number | undefined) => {
    const got = await perplexityOf(model, [scored], choices);
    expect(Math.abs(got / (expected as number) - 1), JSON.stringify(choices)).toBeLessThan(0.002);
  };
  await near({}, perplexity.exact);
  for (const k of kept) await near({ attention: { k } }, perplexity.attention[k]);
  for (const k of units)
    await near({ feedForward: { k, select: 'contribution' } }, perplexity.feedForward[k]);
  model.dispose();
  expect(backend.memory().live).toBe(0);
}
