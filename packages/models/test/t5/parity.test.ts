import { createReferenceBackend } from '@topk-attention/core/reference';
import { forwardDifference, Goldens, goldensFolder, readManifest } from '@topk-attention/t5-goldens';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import { loadT5 } from '../../src/index.js';

const { models, maxNewTokens } = readManifest();

for (const { model: folder, goldens: file, cases, topK = {} } of models) {
  describe(`${folder} against Python transformers, on the reference backend`, () => {
    const load = () =>
      loadT5({ backend: createReferenceBackend(), source: `${goldensFolder}/${folder}`, tokenizer: false });

    for (const name of cases.filter((one) => one !== 'generate')) {
      test(`encoder outputs and logits within 1e-4: ${name}`, async () => {
        const goldens = await Goldens.read(file);
        const difference = await forwardDifference(await load(), goldens, name, name === 'topK' ? topK : {});
        expect(difference.encoder).toBeLessThan(1e-4);
        expect(difference.logits).toBeLessThan(1e-4);
      });
    }

    if (!cases.includes('generate')) return;

    // The reference backend takes five seconds for all 50.
    const most = thoroughAvailability().available ? 50 : 10;
    test(`greedy ids of ${most} prompts are identical`, async () => {
      const goldens = await Goldens.read(file);
      const model = await load();
      const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths');
      const expected = goldens.ragged('generate.ids', 'generate.lengths');
      const logits = goldens.ragged('generate.logits', 'generate.lengths');
      expect(prompts).toHaveLength(50);
      for (const [index, prompt] of prompts.slice(0, most).entries()) {
        const result = await model.generate(prompt, { maxNewTokens });
        expect(result.ids, `prompt ${index}`).toEqual(expected[index]);
        for (const [step, logit] of result.logits.entries()) {
          expect(Math.abs(logit - (logits[index]?.[step] ?? Number.NaN))).toBeLessThan(1e-4);
        }
      }
    });
  });
}
