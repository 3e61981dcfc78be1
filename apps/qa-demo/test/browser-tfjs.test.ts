import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { Goldens, goldensFolder } from '@topk-attention/t5-goldens';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageAnswers } from './browser-tfjs/page.js';

const TIMEOUT_MILLISECONDS = 900_000;
const model = fileURLToPath(new URL('../model/', import.meta.url));

optional(
  'T5 answers on tfjs wasm in headless Chromium, exact and top-k',
  browserAvailability(),
  async () => {
    const manifest: { maxNewTokens: number; prompts: string[]; answers: string[] } = JSON.parse(
      readFileSync(`${goldensFolder}/embedded/manifest.json`, 'utf8'),
    );
    const goldens = await Goldens.read('embedded/goldens.safetensors');
    const lengths = goldens.packed('generate.promptIds', 'generate.promptStarts').map((ids) => ids.length);
    const at = lengths.indexOf(Math.min(...lengths));
    const prompt = manifest.prompts[at] as string;
    const { maxNewTokens } = manifest;
    const folder = new URL('./browser-tfjs/', import.meta.url);
    const wasm = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'));
    const include = ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-wasm'];
    const answers = await withTestPage({ folder, ready: 'answerOnTfjs', include }, (page) => {
      const args = [page.urlOf(`${wasm}/`), page.urlOf(model), prompt, maxNewTokens];
      const list = args.map((value) => JSON.stringify(value));
      return page.evaluate(`answerOnTfjs(${list})`) as Promise<PageAnswers>;
    });
    expect(answers.engine).toBe('wasm');
    expect(answers.exact).toBe(manifest.answers[at]);
    const reference = await loadT5({ backend: createReferenceBackend(), source: model });
    const { text } = await reference.generate(prompt, {
      maxNewTokens,
      attention: { k: answers.attentionK },
      feedForward: { k: answers.feedForwardK },
    });
    reference.dispose();
    expect(answers.topK).toBe(text);
    // An id and its logit for every token.
    expect(answers.readElements).toBe(2 * answers.tokens);
    expect(answers.live).toBe(0);
    // Vectors of zeros, one for each width of a product.
    expect(answers.tensorsLeft).toBeLessThanOrEqual(64);
  },
  TIMEOUT_MILLISECONDS,
);
