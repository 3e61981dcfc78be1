// What T5 has to do on every backend that its tests run it on: the goldens of Python transformers.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Backend, sizeOf } from '@topk-attention/core';
import { loadT5, type T5 } from '@topk-attention/models';
import {
  forwardDifference,
  Goldens,
  goldensFolder,
  largestDifference,
  readGenerationCases,
  readManifest,
} from '@topk-attention/t5-goldens';
import { expect } from 'vitest';

const { models, maxNewTokens } = readManifest();
const embedded = fileURLToPath(new URL('../model', import.meta.url));

type GoldenModel = (typeof models)[number];

/** Weights in f16 and bf16 are widened on load, whatever the backend. */
export const goldenModels: readonly GoldenModel[] = models.filter(({ model }) => !/f16$/.test(model));

/** The cases of a forward pass: all but generation. */
export function forwardCases({ cases }: GoldenModel): readonly string[] {
  return cases.filter((one) => one !== 'generate');
}

export function hasGeneration({ cases }: GoldenModel): boolean {
  return cases.includes('generate');
}

/** Encoder outputs and logits within 1e-4 of transformers. */
export async function checkForward(
  backend: Backend,
  { model: folder, goldens: file, topK = {} }: GoldenModel,
  names: readonly string[],
): Promise<void> {
  const goldens = await Goldens.read(file);
  const model = await loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });
  for (const name of names) {
    const difference = await forwardDifference(model, goldens, name, name === 'topK' ? topK : {});
    expect(difference.encoder, name).toBeLessThan(1e-4);
    expect(difference.logits, name).toBeLessThan(1e-4);
  }
  model.dispose();
  expect(backend.memory().live).toBe(0);
}

/** Greedy ids are those of transformers, alone and in a batch; nothing else is read back. */
export async function checkGeneration(
  backend: Backend,
  { model: folder, goldens: file }: GoldenModel,
): Promise<void> {
  const goldens = await Goldens.read(file);
  const model = await loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });
  const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths').slice(0, 4);
  const expected = goldens.ragged('generate.ids', 'generate.lengths').slice(0, 4);
  const readElements = countReads(backend);
  for (const [index, prompt] of prompts.slice(0, 2).entries()) {
    const { ids } = await model.generate(prompt, { maxNewTokens });
    expect(ids, `prompt ${index}`).toEqual(expected[index]);
  }
  // An id and its logit for every step of a row.
  expect(readElements()).toBeLessThanOrEqual(2 * 2 * maxNewTokens);
  const batch = await model.generateBatch(prompts, { maxNewTokens });
  expect(batch.map(({ ids }) => ids)).toEqual(expected);
  await checkBeams(model, folder);
  model.dispose();
  expect(backend.memory().live).toBe(0);
}

/** Beams of two prompts at once are those of transformers. */
export async function checkBeams(model: T5, folder: string): Promise<void> {
  const beams = readGenerationCases().find((one) => one.model === folder && one.name === 'beams');
  if (beams === undefined) throw new Error(`no beams of ${folder}`);
  const results = await model.generateBatch(beams.prompts.slice(0, 2), beams.options);
  expect(results.map(({ ids }) => ids)).toEqual(beams.ids.slice(0, 2).flat());
}

/** The embedded model with what transformers made of it. */
export interface EmbeddedT5 {
  readonly model: T5;
  readonly maxNewTokens: number;
  /** Prompts of at most so many tokens as were asked for, and the answers of transformers, the shortest prompt first. */
  readonly prompts: readonly { readonly prompt: string; readonly answer: string }[];
}

/** The embedded model: logits within 1e-4 of transformers, answers identical. The caller disposes of it. */
export async function checkEmbedded(backend: Backend, longestPrompt: number): Promise<EmbeddedT5> {
  const manifest: { maxNewTokens: number; prompts: string[]; answers: string[] } = JSON.parse(
    readFileSync(`${goldensFolder}/embedded/manifest.json`, 'utf8'),
  );
  const goldens = await Goldens.read('embedded/goldens.safetensors');
  const model = await loadT5({ backend, source: embedded });
  const logits = model.logits(goldens.rows('logits0.inputIds'), goldens.rows('logits0.decoderInputIds'));
  expect(await largestDifference(logits, goldens.vector('logits0.logits'))).toBeLessThan(1e-4);
  const prompts = goldens
    .packed('generate.promptIds', 'generate.promptStarts')
    .map((ids, at) => ({
      length: ids.length,
      prompt: manifest.prompts[at] as string,
      answer: manifest.answers[at] as string,
    }))
    .filter(({ length }) => length <= longestPrompt)
    .sort((a, b) => a.length - b.length);
  expect(prompts.length).toBeGreaterThanOrEqual(3);
  for (const { prompt, answer } of prompts) {
    const { text } = await model.generate(prompt, { maxNewTokens: manifest.maxNewTokens });
    expect(text, prompt).toBe(answer);
  }
  return { model, maxNewTokens: manifest.maxNewTokens, prompts };
}

/** Counts the elements that leave the backend from now on. */
function countReads(backend: Backend): () => number {
  let elements = 0;
  const read = backend.read.bind(backend);
  Object.defineProperty(backend, 'read', {
    configurable: true,
    value: (x: Parameters<typeof read>[0]) => {
      elements += sizeOf(x.shape);
      return read(x);
    },
  });
  return () => elements;
}
