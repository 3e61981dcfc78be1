import { loadT5 } from '@topk-attention/models';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { forwardDifference, Goldens, goldensFolder, readManifest } from '@topk-attention/t5-goldens';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkEncoderModel, encoderGoldens } from './encoder-checks.js';
import { checkBeams } from './t5-checks.js';

const { models, maxNewTokens } = readManifest();

describe('small random T5 against Python transformers, on ONNX Runtime', () => {
  let backend: OnnxRuntimeBackend;

  beforeAll(async () => {
    backend = await createOnnxRuntimeBackend({ threads: 1 });
  });
  afterAll(() => backend.dispose());

  for (const { model: folder, goldens: file, cases, topK = {} } of models) {
    for (const name of cases.filter((one) => one !== 'generate')) {
      test(`${folder}, encoder outputs and logits within 1e-4: ${name}`, async () => {
        const model = await loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });
        const goldens = await Goldens.read(file);
        const difference = await forwardDifference(model, goldens, name, name === 'topK' ? topK : {});
        model.dispose();
        expect(difference.encoder).toBeLessThan(1e-4);
        expect(difference.logits).toBeLessThan(1e-4);
        expect(backend.memory().live).toBe(0);
      });
    }
    if (!cases.includes('generate')) continue;
    test(`${folder}, greedy ids of 50 prompts are identical, alone and in batches, and beams`, async () => {
      const model = await loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });
      const goldens = await Goldens.read(file);
      const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths');
      const expected = goldens.ragged('generate.ids', 'generate.lengths');
      expect(prompts).toHaveLength(50);
      const weights = backend.memory().live;
      for (const [index, prompt] of prompts.entries()) {
        const { ids } = await model.generate(prompt, { maxNewTokens });
        expect(ids, `prompt ${index}`).toEqual(expected[index]);
      }
      for (let start = 0; start < prompts.length; start += 10) {
        const batch = await model.generateBatch(prompts.slice(start, start + 10), { maxNewTokens });
        expect(batch.map(({ ids }) => ids)).toEqual(expected.slice(start, start + 10));
      }
      await checkBeams(model, folder);
      expect(backend.memory().live).toBe(weights);
      model.dispose();
    });
  }
});

describe('small random encoders against Python transformers, on ONNX Runtime', () => {
  let backend: OnnxRuntimeBackend;

  beforeAll(async () => {
    backend = await createOnnxRuntimeBackend({ threads: 1 });
  });
  afterAll(() => backend.dispose());

  test.each(encoderGoldens)(
    '$model: hidden states, heads and embeddings within 1e-4, answers identical',
    (golden) => checkEncoderModel(backend, golden),
  );
});
