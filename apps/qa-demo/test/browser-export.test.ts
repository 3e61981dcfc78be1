import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { type LayerChoices, loadT5 } from '@topk-attention/models';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageAnswers } from './browser-export/page.js';
import { embedded, questions } from './export/questions.js';

const K = 16;

optional(
  'the embedded model as ONNX files answers on onnxruntime-web in headless Chromium',
  browserAvailability(),
  async () => {
    const { list, maxNewTokens } = await questions();
    const asked = [list[0], list.find(({ ids }) => ids.length > 100)].flatMap((one) => one ?? []);
    const prompts = asked.map(({ ids }) => ids);
    const options = {
      folder: new URL('./browser-export/', import.meta.url),
      ready: 'answerFromFiles',
      include: ['@topk-attention/onnxruntime > protobufjs/minimal.js'],
      exclude: ['onnxruntime-web'],
    };
    const answers = await withTestPage(options, async (page) => {
      const wasm = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/wasm'));
      const given = [page.urlOf(`${wasm}/`), page.urlOf(`${embedded}/`), prompts, K, maxNewTokens];
      const list = given.map((value) => JSON.stringify(value));
      return page.evaluate(`answerFromFiles(${list})`) as Promise<PageAnswers>;
    });
    const expected = asked.map(({ answerIds }) => answerIds);
    expect(answers.exported).toEqual(expected);
    expect(answers.exact).toEqual(expected);
    expect(answers.half).toEqual(expected);
    const backend = await createOnnxRuntimeBackend({ threads: 1 });
    const model = await loadT5({ backend, source: embedded, attention: { k: K } });
    const withK = async (choices: LayerChoices): Promise<readonly (readonly number[])[]> =>
      (await model.generateBatch(prompts, { maxNewTokens, ...choices })).map(({ ids }) => ids);
    expect(answers.k).toEqual(await withK({}));
    expect(answers.exportedWithK).toEqual(await withK({ feedForward: { k: 128 } }));
    model.dispose();
    await backend.dispose();
  },
);
