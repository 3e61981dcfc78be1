// T5 on one engine of TensorFlow.js. tf has one engine a process, so every engine has a test file of its own.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { sizeOf } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { type LayerChoices, loadT5 } from '@topk-attention/models';
import { createTfjsBackend, type Tf, type TfjsBackend } from '@topk-attention/tfjs';
import { type Availability, optional } from '@topk-attention/vitest-preset';
import { expect } from 'vitest';
import {
  forwardDifference,
  Goldens,
  goldensFolder,
  largestDifference,
  readManifest,
} from '../../../packages/models/test/support/goldens.js';

const { models, maxNewTokens } = readManifest();
const embedded = fileURLToPath(new URL('../model', import.meta.url));
const TIMEOUT_MILLISECONDS = 120_000;

/** Fewer keys and units than there are, so that they are chosen. */
const topK: LayerChoices = { attention: { k: 16 }, feedForward: { k: 64 } };

/** An engine that comes with this repository. */
export const always: Availability = { need: 'tfjs', available: true, reason: '' };

/** Parity with Python transformers on the engine that `load` registers; of the prompts, those of at most that many tokens. */
export function testT5(
  engine: string,
  available: Availability,
  load: () => Promise<Tf>,
  longestPrompt: number,
): void {
  let shared: Promise<{ tf: Tf; backend: TfjsBackend }> | undefined;
  const open = (): Promise<{ tf: Tf; backend: TfjsBackend }> => {
    shared ??= load().then(async (tf) => ({ tf, backend: await createTfjsBackend({ tf, engine }) }));
    return shared;
  };
  const check = (name: string, body: (tf: Tf, backend: TfjsBackend) => Promise<void>): void => {
    const run = async (): Promise<void> => {
      const { tf, backend } = await open();
      const { numTensors } = tf.memory();
      await body(tf, backend);
      expect(backend.memory().live).toBe(0);
      expect(tf.memory().numTensors).toBe(numTensors);
    };
    optional(`${name}, on tfjs ${engine}`, available, run, TIMEOUT_MILLISECONDS);
  };

  // Weights in f16 and bf16 are widened on load, whatever the backend.
  for (const { model: folder, goldens: file, cases, topK: kept = {} } of models.filter(
    ({ model }) => !/f16$/.test(model),
  )) {
    const source = `${goldensFolder}/${folder}`;
    check(`${folder}: encoder outputs and logits within 1e-4 of transformers`, async (_tf, backend) => {
      const goldens = await Goldens.read(file);
      const model = await loadT5({ backend, source, tokenizer: false });
      for (const name of cases.filter((one) => one !== 'generate')) {
        const difference = await forwardDifference(model, goldens, name, name === 'topK' ? kept : {});
        expect(difference.encoder, name).toBeLessThan(1e-4);
        expect(difference.logits, name).toBeLessThan(1e-4);
      }
      model.dispose();
    });
    if (!cases.includes('generate')) continue;
    check(
      `${folder}: greedy ids are those of transformers, alone and in a batch; nothing else is read back`,
      async (_tf, backend) => {
        const goldens = await Goldens.read(file);
        const model = await loadT5({ backend, source, tokenizer: false });
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
      },
    );
  }

  check(
    'the embedded model: logits within 1e-4 of transformers, exact answers theirs, top-k answers the reference backend’s',
    async (_tf, backend) => {
      const manifest: { maxNewTokens: number; prompts: string[]; answers: string[] } = JSON.parse(
        readFileSync(`${goldensFolder}/embedded/manifest.json`, 'utf8'),
      );
      const goldens = await Goldens.read('embedded/goldens.safetensors');
      const model = await loadT5({ backend, source: embedded });
      const logits = model.logits(goldens.rows('logits0.inputIds'), goldens.rows('logits0.decoderInputIds'));
      expect(await largestDifference(logits, goldens.vector('logits0.logits'))).toBeLessThan(1e-4);
      const lengths = goldens.packed('generate.promptIds', 'generate.promptStarts').map((ids) => ids.length);
      const prompts = [...lengths.entries()].flatMap(([at, length]) => (length <= longestPrompt ? [at] : []));
      expect(prompts.length).toBeGreaterThanOrEqual(3);
      const options = { maxNewTokens: manifest.maxNewTokens };
      for (const at of prompts) {
        const prompt = manifest.prompts[at] as string;
        const { text } = await model.generate(prompt, options);
        expect(text, prompt).toBe(manifest.answers[at]);
      }
      const shortest = manifest.prompts[lengths.indexOf(Math.min(...lengths))] as string;
      const reference = await loadT5({ backend: createReferenceBackend(), source: embedded });
      const wanted = await reference.generate(shortest, { ...options, ...topK });
      reference.dispose();
      const got = await model.generate(shortest, { ...options, ...topK });
      expect(got.text).toBe(wanted.text);
      model.dispose();
    },
  );
}

/** Counts the elements that leave the engine from now on. */
function countReads(backend: TfjsBackend): () => number {
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
