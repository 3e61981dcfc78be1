import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  causalForwardCases,
  causalForwardDifference,
  causalGoldensFolder,
  Goldens,
  readCausalManifest,
} from '@topk-attention/t5-goldens';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { expect, test } from 'vitest';
import { type CausalLM, loadCausalLM } from '../../src/index.js';
import { keepsNothing } from '../support/memory.js';

const { models, maxNewTokens } = readCausalManifest();

/** One of each layout at once; what they share with the others is tested with them. */
const quick = ['gpt2', 'llama-3'];

for (const { model: folder, topK } of models) {
  const backend = createReferenceBackend();
  const open = (): Promise<CausalLM> =>
    loadCausalLM({ backend, source: `${causalGoldensFolder}/${folder}`, tokenizer: false });
  const read = (): Promise<Goldens> => Goldens.read(`causal-lm/${folder}/goldens.safetensors`);
  const check = (name: string, body: () => Promise<void>): void => {
    if (quick.includes(folder)) test(name, body);
    else optional(name, thoroughAvailability(), body);
  };

  check(`${folder}: logits within 1e-4 of transformers, exact and top-k`, async () => {
    const model = await open();
    const goldens = await read();
    for (const name of causalForwardCases) {
      const difference = await causalForwardDifference(model, goldens, name, name === 'topK' ? topK : {});
      expect(difference, name).toBeLessThan(1e-4);
    }
    model.dispose();
    expect(backend.memory().live).toBe(0);
  });

  check(
    `${folder}: greedy ids are those of transformers, alone and in a batch of other lengths`,
    async () => {
      const model = await open();
      const goldens = await read();
      const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths');
      const expected = goldens.ragged('generate.ids', 'generate.lengths');
      const logits = goldens.ragged('generate.logits', 'generate.lengths');
      expect(new Set(prompts.map(({ length }) => length)).size).toBeGreaterThan(3);
      for (const [index, prompt] of prompts.slice(0, 3).entries()) {
        const made = await keepsNothing(backend, () => model.generate(prompt, { maxNewTokens }));
        expect(made.ids, `prompt ${index}`).toEqual(expected[index]);
        for (const [at, logit] of made.logits.entries()) {
          expect(Math.abs(logit - (logits[index]?.[at] ?? Number.NaN))).toBeLessThan(1e-4);
        }
      }
      const batch = await keepsNothing(backend, () => model.generateBatch(prompts, { maxNewTokens }));
      expect(batch.map(({ ids }) => ids)).toEqual(expected);
      model.dispose();
      expect(backend.memory().live).toBe(0);
    },
  );
}
