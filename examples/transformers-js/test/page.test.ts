import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatUnifiedQA, loadT5 } from '@topk-attention/models';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { afterAll, beforeAll, expect } from 'vitest';
import { makeModels } from '../scripts/make-models.mjs';

const checkpoint = fileURLToPath(new URL('../../../apps/qa-demo/model', import.meta.url));
const questions = ['Where is Mary?', 'Where is John?'];
const browser = browserAvailability();
const options = {
  folder: new URL('../', import.meta.url),
  ready: 'document',
  exclude: ['@huggingface/transformers', 'onnxruntime-web'],
};

/** What `public/models` of a reader has; that folder itself may hold models of theirs. */
let models: string;
beforeAll(async () => {
  const cache = fileURLToPath(new URL('.cache', options.folder));
  await mkdir(cache, { recursive: true });
  models = await mkdtemp(join(cache, 'models-'));
  if (browser.available) await makeModels(checkpoint, models);
});
afterAll(() => rm(models, { recursive: true, force: true }));

/** What the model itself answers. */
async function answersTo(text: string): Promise<readonly string[]> {
  const backend = await createOnnxRuntimeBackend({ threads: 1 });
  const model = await loadT5({ backend, source: checkpoint });
  const prompts = questions.map((question) => formatUnifiedQA({ question, context: text }));
  const answers = await model.generateBatch(prompts);
  model.dispose();
  await backend.dispose();
  return answers.map(({ text }) => text);
}

optional('every form answers as the model does, with nothing from another server', browser, () => {
  return withTestPage(options, async ({ page, errors, urlOf }) => {
    const { origin } = new URL(page.url());
    const [asked, served] = [`${origin}/models/`, urlOf(`${models}/`)];
    await page.route(`${asked}**`, (route) =>
      route.continue({ url: route.request().url().replace(asked, served) }),
    );
    const elsewhere: string[] = [];
    page.on('request', (request) => {
      const { protocol, origin: other } = new URL(request.url());
      if (protocol.startsWith('http') && other !== origin) elsewhere.push(request.url());
    });
    const expected = await answersTo((await page.inputValue('[name="text"]')).replace(/\s+/g, ' '));
    expect(expected).toEqual(['hallway', 'bedroom']);
    for (const form of ['exported', 'chunked', 'top-k']) {
      await page.selectOption('[name="model"]', form);
      // The second question finds the pipeline open.
      for (const [at, question] of questions.entries()) {
        await page.fill('[name="question"]', question);
        await page.click('button');
        const isOver = `['done', 'failed'].includes(document.body.dataset.state)`;
        await page.waitForFunction(isOver, undefined, { timeout: 300_000 });
        expect(await page.textContent('#status'), form).toMatch(/^\d+ ms$/);
        expect(await page.textContent('#answer'), form).toBe(expected[at]);
      }
    }
    expect(errors).toEqual([]);
    expect(elsewhere).toEqual([]);
  });
});

optional('a folder that is not there is named', browser, () =>
  withTestPage(options, async ({ page }) => {
    await page.route('**/models/**', (route) => route.fulfill({ status: 404 }));
    await page.click('button');
    await page.waitForFunction(`document.body.dataset.state === 'failed'`);
    expect(await page.textContent('#status')).toContain('models/exported/config.json');
  }),
);
