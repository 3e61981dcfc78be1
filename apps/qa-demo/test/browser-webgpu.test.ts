import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { Goldens, goldensFolder } from '@topk-attention/t5-goldens';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageAnswers } from './browser/page.js';

const TIMEOUT_MILLISECONDS = 900_000;
const model = fileURLToPath(new URL('../model/', import.meta.url));

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
    const prompt = manifest.prompts[at] as string;
    const { maxNewTokens } = manifest;
    const folder = new URL('./browser/', import.meta.url);
    const answers = await withTestPage({ folder, ready: 'answerOnWebGpu', exclude: ['webgpu'] }, (page) => {
      const args = [page.urlOf(model), prompt, maxNewTokens].map((value) => JSON.stringify(value));
      return page.evaluate(`answerOnWebGpu(${args})`) as Promise<PageAnswers>;
    });
    expect(answers.exact).toBe(manifest.answers[at]);
    const reference = await loadT5({ backend: createReferenceBackend(), source: model });
    const { text } = await reference.generate(prompt, {
      maxNewTokens,
      attention: { k: answers.attentionK },
      feedForward: { k: answers.feedForwardK },
    });
    expect(answers.topK).toBe(text);
    expect(answers.plan).toMatch(/on webgpu: fused/);
    expect(answers.live).toBe(0);
  },
  TIMEOUT_MILLISECONDS,
);
