import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { sizeOf } from '@topk-attention/core';
import { loadT5 } from '@topk-attention/models';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { afterAll, expect } from 'vitest';
import {
  forwardDifference,
  Goldens,
  goldensFolder,
  largestDifference,
  readManifest,
} from '../../../packages/models/test/support/goldens.js';

const available = softwareGpuAvailability();
const { models, maxNewTokens } = readManifest();
const embedded = fileURLToPath(new URL('../model', import.meta.url));
/** The software GPU takes its time. */
const TIMEOUT_MILLISECONDS = 300_000;

let shared: Promise<WebGpuBackend> | undefined;

/** One for all tests: its shaders are compiled once. */
function webGpu(): Promise<WebGpuBackend> {
  shared ??= createWebGpuBackend({ onWarning: () => {} });
  return shared;
}

afterAll(async () => (await shared)?.dispose());

// Weights in f16 and bf16 are widened on load, whatever the backend.
for (const { model: folder, goldens: file, cases, topK = {} } of models.filter(
  ({ model }) => !/f16$/.test(model),
)) {
  for (const name of cases.filter((one) => one !== 'generate')) {
    optional(
      `${folder} on WebGPU, encoder outputs and logits within 1e-4 of transformers: ${name}`,
      available,
      async () => {
        const backend = await webGpu();
        const model = await loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });
        const goldens = await Goldens.read(file);
        const difference = await forwardDifference(model, goldens, name, name === 'topK' ? topK : {});
        model.dispose();
        expect(difference.encoder).toBeLessThan(1e-4);
        expect(difference.logits).toBeLessThan(1e-4);
        expect(backend.memory().live).toBe(0);
      },
      TIMEOUT_MILLISECONDS,
    );
  }
  if (!cases.includes('generate')) continue;
  optional(
    `${folder} on WebGPU, greedy ids are those of transformers, alone and in a batch; nothing else is read back`,
    available,
    async () => {
      const backend = await webGpu();
      const model = await loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });
      const goldens = await Goldens.read(file);
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
      model.dispose();
      expect(backend.memory().live).toBe(0);
    },
    TIMEOUT_MILLISECONDS,
  );
}

optional(
  'the embedded model on WebGPU: logits within 1e-4 of transformers, answers identical',
  available,
  async () => {
    const manifest: { maxNewTokens: number; prompts: string[]; answers: string[] } = JSON.parse(
      readFileSync(`${goldensFolder}/embedded/manifest.json`, 'utf8'),
    );
    const goldens = await Goldens.read('embedded/goldens.safetensors');
    const backend = await webGpu();
    const model = await loadT5({ backend, source: embedded });
    const logits = model.logits(goldens.rows('logits0.inputIds'), goldens.rows('logits0.decoderInputIds'));
    expect(await largestDifference(logits, goldens.vector('logits0.logits'))).toBeLessThan(1e-4);
    const lengths = goldens.packed('generate.promptIds', 'generate.promptStarts').map((ids) => ids.length);
    const short = lengths.flatMap((length, index) => (length <= 45 ? [index] : []));
    expect(short.length).toBeGreaterThanOrEqual(3);
    for (const index of short) {
      const prompt = manifest.prompts[index] as string;
      const result = await model.generate(prompt, { maxNewTokens: manifest.maxNewTokens });
      expect(result.text, prompt).toBe(manifest.answers[index]);
    }
    model.dispose();
  },
  TIMEOUT_MILLISECONDS,
);

/** Counts the elements that leave the device from now on. */
function countReads(backend: WebGpuBackend): () => number {
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
