import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { formatUnifiedQA, loadT5 } from '@topk-attention/models';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import { makeModels } from '../scripts/make-models.mjs';

const checkpoint = fileURLToPath(new URL('../../../apps/qa-demo/model', import.meta.url));
const folder = new URL('../', import.meta.url);
const models = fileURLToPath(new URL('public/models', folder));

optional(
  'every form answers in the page as the model does, from its own server alone',
  browserAvailability(),
  async () => {
    await rm(models, { recursive: true, force: true });
    await makeModels(checkpoint, models);
    const exclude = ['@huggingface/transformers', 'onnxruntime-web'];
    await withTestPage({ folder, ready: 'document', exclude }, async ({ page, errors }) => {
      const { origin } = new URL(page.url());
      const elsewhere: string[] = [];
      page.on('request', (request) => {
        const { protocol, origin: asked } = new URL(request.url());
        if (protocol.startsWith('http') && asked !== origin) elsewhere.push(request.url());
      });
      const text = (await page.inputValue('[name="text"]')).replace(/\s+/g, ' ');
      const model = await loadT5({ backend: createReferenceBackend(), source: checkpoint });
      const answers: { [question: string]: string } = {};
      for (const question of ['Where is Mary?', 'Where is John?']) {
        const prompt = formatUnifiedQA({ question, context: text });
        answers[question] = (await model.generate(prompt)).text;
      }
      model.dispose();
      expect(answers).toEqual({ 'Where is Mary?': 'hallway', 'Where is John?': 'bedroom' });
      for (const form of ['exported', 'chunked', 'top-k']) {
        await page.selectOption('[name="model"]', form);
        for (const [question, answer] of Object.entries(answers)) {
          await page.fill('[name="question"]', question);
          await page.click('button');
          const isOver = `['done', 'failed'].includes(document.body.dataset.state)`;
          await page.waitForFunction(isOver, undefined, { timeout: 300_000 });
          expect(await page.textContent('#status')).toMatch(/^\d+ ms$/);
          expect(await page.textContent('#answer'), form).toBe(answer);
        }
      }
      await page.evaluate(`document.body.dataset.state = 'idle'`);
      expect(errors).toEqual([]);
      expect(elsewhere).toEqual([]);
    });
  },
);
