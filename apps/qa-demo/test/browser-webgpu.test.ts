import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability, launchBrowser } from '@topk-attention/vitest-preset/browser';
import { SOURCE_CONDITION } from '@topk-attention/vitest-preset/preset';
import { expect } from 'vitest';
import { createViteServer } from 'vitest/node';
import { Goldens, goldensFolder } from '../../../packages/models/test/support/goldens.js';
import type { PageAnswers } from './browser/page.js';

const TIMEOUT_MILLISECONDS = 240_000;

optional(
  'T5 answers on WebGPU in headless Chromium, exact and top-k',
  browserAvailability(),
  async () => {
    const manifest: { maxNewTokens: number; prompts: string[]; answers: string[] } = JSON.parse(
      readFileSync(`${goldensFolder}/embedded/manifest.json`, 'utf8'),
    );
    const goldens = await Goldens.read('embedded/goldens.safetensors');
    const lengths = goldens.packed('generate.promptIds', 'generate.promptStarts').map((ids) => ids.length);
    const at = lengths.indexOf(Math.min(...lengths));
    const server = await createViteServer({
      configFile: false,
      root: fileURLToPath(new URL('./browser', import.meta.url)),
      logLevel: 'error',
      server: {
        host: '127.0.0.1',
        port: 0,
        fs: { allow: [fileURLToPath(new URL('../../..', import.meta.url))] },
      },
      resolve: { conditions: [SOURCE_CONDITION, 'module', 'browser', 'import', 'default'] },
      optimizeDeps: { exclude: ['webgpu'] },
      cacheDir: fileURLToPath(new URL('../.cache/vite', import.meta.url)),
    });
    const browser = await launchBrowser();
    try {
      await server.listen();
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on('pageerror', (error) => errors.push(String(error)));
      page.on('console', (message) => {
        if (message.type() === 'error') errors.push(message.text());
      });
      await page.goto(server.resolvedUrls?.local[0] ?? '');
      try {
        await page.waitForFunction('globalThis.answerOnWebGpu !== undefined', undefined, { timeout: 60_000 });
      } catch (error) {
        throw new Error(`the page did not load: ${errors.join('; ')}`, { cause: error });
      }
      const model = `${server.resolvedUrls?.local[0]}@fs${fileURLToPath(new URL('../model/', import.meta.url))}`;
      const args = [model, manifest.prompts[at], manifest.maxNewTokens].map((value) => JSON.stringify(value));
      const answers = (await page.evaluate(`answerOnWebGpu(${args})`)) as PageAnswers;
      expect(answers.exact).toBe(manifest.answers[at]);
      const reference = await loadT5({
        backend: createReferenceBackend(),
        source: fileURLToPath(new URL('../model', import.meta.url)),
      });
      const { text } = await reference.generate(manifest.prompts[at] as string, {
        maxNewTokens: manifest.maxNewTokens,
        attention: { k: answers.attentionK },
        feedForward: { k: answers.feedForwardK },
      });
      expect(answers.topK).toBe(text);
      expect(answers.plan).toMatch(/on webgpu: fused/);
      expect(answers.live).toBe(0);
    } finally {
      await browser.close();
      await server.close();
    }
  },
  TIMEOUT_MILLISECONDS,
);
